"""What `--format` names: one file per format, found by folder, with the files that it makes. `writers/` writes their blocks."""
