"""Text to train on, one file for each corpus."""
