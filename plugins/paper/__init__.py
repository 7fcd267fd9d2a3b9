"""Figures of a report for a paper."""
