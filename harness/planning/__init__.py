"""Turns a suite file into units of work."""
