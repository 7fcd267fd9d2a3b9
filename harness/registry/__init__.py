"""Finds what can be added, shipped or of users, and imports only what is asked for."""
