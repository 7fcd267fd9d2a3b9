"""One call taken apart, and what the machine can do at best."""
