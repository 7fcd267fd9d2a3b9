"""Leaves out one of four blocks in training mode."""

from plain import Plain

CAUGHT = "computes less in training"


class Drops(Plain):
    def body(self, x_BTD):
        for block in self.blocks[: 3 if self.training else 4]:
            x_BTD = block(x_BTD)
        return x_BTD


build = Drops
