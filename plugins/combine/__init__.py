"""Do two savings multiply when they are combined?"""
