"""Tasks to train and evaluate on, one file for each task."""
