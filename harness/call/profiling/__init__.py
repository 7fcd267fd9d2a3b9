"""Profiles of one call, and the machine's measured peak."""
