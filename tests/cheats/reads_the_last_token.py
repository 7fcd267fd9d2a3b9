"""Adds a little of the last token to every position."""

from plain import Plain

CAUGHT = "not autoregressive as measured"


class Peeks(Plain):
    def body(self, x_BTD):
        return super().body(x_BTD + 0.1 * x_BTD[:, -1:])


build = Peeks
