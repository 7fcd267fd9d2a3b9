"""Comparisons in a user's own tests: fixtures of pytest, and a run as a file of pytest-benchmark."""
