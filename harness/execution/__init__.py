"""Starts units of work as processes and watches them."""
