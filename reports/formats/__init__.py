"""What a run can be written as: one file per format, found by folder."""
