"""What a model computes, counted three ways, and where the counts differ."""
