"""Which capacity at which length?"""
