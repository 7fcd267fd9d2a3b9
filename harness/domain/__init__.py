"""The nouns of a run: suite, case and job, pass, record and its notes, and the evidence for doubts."""
