"""What decides which tokens a routed block processes: one file per router."""
