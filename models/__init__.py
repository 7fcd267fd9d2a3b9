"""What is measured: one file per architecture, readable top to bottom, like a paper."""
