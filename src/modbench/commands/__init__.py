"""The commands: one file each. They import nothing heavy until they run."""
