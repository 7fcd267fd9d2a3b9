"""Properties of a model that calls alone can show: one file per property."""
