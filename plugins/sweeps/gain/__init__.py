"""Compute-equivalent gain: the compute that dense needs for a loss, over the variant's own."""
