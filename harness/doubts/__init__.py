"""When a number is not to be trusted, and what to do about it: one file per doubt."""
