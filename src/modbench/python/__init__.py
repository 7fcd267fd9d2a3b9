"""What `import modbench` offers: one file per function, and one for each thing that it returns."""
