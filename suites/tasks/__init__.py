"""Tasks to train and judge on: one file per task."""
