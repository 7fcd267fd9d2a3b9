"""What new seeds confirm of the best of a sweep."""
