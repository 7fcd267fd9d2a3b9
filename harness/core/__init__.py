"""What every room shares: cases, metrics, models as data, errors, units, files. Loads no torch."""
