"""How blocks are written as text, HTML, Markdown, CSV, JSON: what formats numbers, counts plurals, escapes and aligns."""
