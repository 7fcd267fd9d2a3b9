"""Statistics: effects, intervals and verdicts from raw samples. Loads no torch."""
