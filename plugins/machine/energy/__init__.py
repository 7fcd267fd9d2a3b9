"""Energy by the counter of the NVIDIA driver."""
