"""What a card and a machine give besides time: a profile, energy, the largest input that fits, and where time went."""
