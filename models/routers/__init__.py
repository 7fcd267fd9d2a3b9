"""Who passes through a routed block: one file per router."""
