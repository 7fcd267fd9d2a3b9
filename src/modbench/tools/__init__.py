"""What the commands do that are not a benchmark run: predict, check, explain, train."""
