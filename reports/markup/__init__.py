"""How blocks are written as text, HTML, Markdown, LaTeX, CSV, JSON: what formats numbers, counts plurals, escapes and aligns."""
