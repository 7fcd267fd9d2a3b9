"""Clocks, interleaved rounds, CUDA events and CUDA graphs."""
