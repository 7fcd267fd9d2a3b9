"""`modbench train`, and loggers for the numbers of training."""
