"""Does a user's file change the time of models that it is no part of?"""
