"""Text to train on: one file per corpus."""
