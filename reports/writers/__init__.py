"""Text, HTML, Markdown, LaTeX, CSV: what escapes, wraps and aligns."""
