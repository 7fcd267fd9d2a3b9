"""Where a run happens, what makes it noisy, and whether its times can be trusted."""
