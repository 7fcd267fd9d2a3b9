"""One process: its clocks, its signals and its end, its ranks, the processes that it starts, and the modes of torch."""
