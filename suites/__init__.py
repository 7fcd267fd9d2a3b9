"""What to measure: one TOML file for each suite, with corpora and tasks in their own folders."""
