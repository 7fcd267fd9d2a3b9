"""From a corpus to tokens."""
