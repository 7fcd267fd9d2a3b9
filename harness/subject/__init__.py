"""The model under test, its inputs, and the guards that check what it claims."""
