"""Loss at equal training FLOPs, over sizes."""
