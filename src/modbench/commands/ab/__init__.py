"""`modbench ab`: two revisions, two builds or two commands that take turns, and whether the second one is slower."""
