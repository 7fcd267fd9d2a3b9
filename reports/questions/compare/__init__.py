"""How do cases compare along an axis, and runs with one another?"""
