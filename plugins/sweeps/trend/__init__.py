"""How the difference of two variants goes on over training budgets."""
