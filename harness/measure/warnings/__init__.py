"""Reasons not to trust a number, and what to do about each: one file per family of warnings."""
