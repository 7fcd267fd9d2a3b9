"""The answers of a report in sentences."""
