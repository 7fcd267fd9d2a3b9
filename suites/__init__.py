"""Which cases: one TOML file per grid; corpora beside them."""
