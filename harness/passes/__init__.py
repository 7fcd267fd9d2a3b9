"""How it is measured: counting, timing, memory and training are separate passes in separate processes."""
