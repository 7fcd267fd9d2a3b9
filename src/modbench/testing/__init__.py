"""What the pytest plug-in does, once a test asks for it."""
