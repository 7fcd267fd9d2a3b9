"""Sinks for the numbers of long training runs: one file each."""
