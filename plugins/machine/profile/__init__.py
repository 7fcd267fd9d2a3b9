"""One case taken apart, module by module: `modbench profile`."""
