"""The commands, one file each. torch and pandas are imported only when a command runs."""
