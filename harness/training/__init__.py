"""Train a model, then evaluate it."""
