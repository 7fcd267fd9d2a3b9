"""Shows a run: HTML, CSV, text. Never imports torch."""
