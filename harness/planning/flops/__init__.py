"""FLOPs of a model, counted three ways, and where the counts differ."""
