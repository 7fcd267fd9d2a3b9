"""`modbench ab`: two revisions, builds or commands in turn: is the new one slower?"""
