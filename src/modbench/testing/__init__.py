"""The parts of the pytest plug-in that are loaded when a test uses them."""
