"""Rules that request jobs while a run goes on, from the records so far: one file per rule."""
