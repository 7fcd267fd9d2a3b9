"""How records look: HTML and CSV. Never imports torch."""
