"""Two sides measured block by block, for `compare --paired` and `gate --paired`."""
