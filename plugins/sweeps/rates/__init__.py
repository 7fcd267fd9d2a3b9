"""Which learning rate a variant wants, tried before a sweep."""
