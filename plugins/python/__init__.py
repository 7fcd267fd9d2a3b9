"""Names of `import modbench`: commands from Python, modules in memory beside each other, a run as tables."""
