"""Rules that request units while a run goes on, from the records so far: one file per rule."""
