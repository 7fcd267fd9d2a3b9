"""From raw samples to effects, intervals and verdicts. Loads no torch."""
