"""The longest sequence and the largest batch whose training step fits."""
