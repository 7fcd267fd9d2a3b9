"""Where units run: one file per launcher."""
