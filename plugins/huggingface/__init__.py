"""Models, data sets and checkpoints of Hugging Face."""
