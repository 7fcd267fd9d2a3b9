"""Turns a suite file into jobs."""
