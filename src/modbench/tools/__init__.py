"""The work behind the commands that are not a benchmark run: `plan`, `cost`, `doctor`, `profile`, `train`."""
