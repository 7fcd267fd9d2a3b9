"""The model under test, its inputs, and the validity checks of what it claims."""
