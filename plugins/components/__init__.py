"""Times of single components, timed with pytest-benchmark, beside a run."""
