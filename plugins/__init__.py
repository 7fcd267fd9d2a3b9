"""Plug-ins: a folder for each feature that crosses rooms. `plugin.toml` in it lists what it adds."""
