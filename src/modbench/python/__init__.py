"""The functions that `import modbench` offers, and their results."""
