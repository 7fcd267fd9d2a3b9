"""Shared by every package: errors, units, files, settings, and what models, metrics and tasks are. Loads no torch."""
