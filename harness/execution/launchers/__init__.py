"""Launchers, which start jobs: one file per launcher."""
