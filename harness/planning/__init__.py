"""From a suite file to units of work."""
