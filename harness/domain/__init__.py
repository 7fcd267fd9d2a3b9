"""The nouns of a run: suite, case and unit of work, pass, record and its notes, and the evidence for doubts."""
