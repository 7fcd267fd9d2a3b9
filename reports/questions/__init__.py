"""What a run can answer: one file, or folder, for each question."""
