"""Published numbers that `modbench verify` recomputes: `numbers.toml`, and the closed forms that it names."""
