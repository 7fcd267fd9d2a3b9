"""What `--format` names: one file per format, found by folder, with the files that it makes. `markup/` writes their blocks."""
