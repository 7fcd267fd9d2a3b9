"""The tasks, one file for each; what they share begins with `_`."""
