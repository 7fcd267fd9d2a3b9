"""Sweeps over sizes and training budgets, and what they tell of skipping."""
