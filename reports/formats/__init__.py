"""What `--format` names: one file per format, found by folder, with the files that it makes. How blocks are written: `writers/`."""
