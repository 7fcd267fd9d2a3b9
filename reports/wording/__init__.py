"""The vocabulary of reports: words of verdicts, names of arms, numbers as text."""
