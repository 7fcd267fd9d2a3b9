"""Launchers, which start units of work: one file per launcher."""
