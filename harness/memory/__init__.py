"""Bytes, as measured."""
