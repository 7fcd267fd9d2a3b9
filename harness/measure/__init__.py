"""What is measured, how, which adaptive rules request more, and when a number should not be trusted: a kind a folder."""
