"""Shared by every room: cases, metrics, models as data, errors, units, files. Loads no torch."""
