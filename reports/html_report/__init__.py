"""The HTML page: what stands on it, and its templates."""
