"""Which setting should be used?"""
