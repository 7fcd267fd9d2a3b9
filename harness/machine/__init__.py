"""Where a run happens, what disturbs it, and whether its times can be trusted."""
