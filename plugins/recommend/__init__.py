"""Which setting to take, within limits; of a sweep, which capacity."""
