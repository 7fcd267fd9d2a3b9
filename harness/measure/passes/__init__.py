"""Passes, the ways of measuring: counting, timing, memory, training and others, each in processes of its own."""
