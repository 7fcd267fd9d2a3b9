"""How figures look, and what they share."""
