"""From the theoretical time to the measured one, part by part."""
