"""The commands with their work, one file or folder each. torch and pandas are imported only when a command runs."""
