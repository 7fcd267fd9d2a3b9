"""What may ask for units while a run goes on, from the records so far: one file per rule."""
