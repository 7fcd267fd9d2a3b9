"""The version, in its only place; tests/house/test_version.py says what else a new one needs."""

__version__ = "0.2.0"
