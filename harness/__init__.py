"""Measures. Knows no particular model, suite or report."""
