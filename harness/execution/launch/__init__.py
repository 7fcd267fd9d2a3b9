"""How units are started: one file per launcher."""
