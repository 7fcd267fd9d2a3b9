"""A card: its peak beside what its data sheet promises, and whether its clocks are locked."""
