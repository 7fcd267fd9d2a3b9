"""Starts jobs as processes and watches them."""
