"""What a compilation takes: the first call of compiled code beside a later one."""
