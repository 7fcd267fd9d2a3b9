"""Memory as the operating system sees it."""
