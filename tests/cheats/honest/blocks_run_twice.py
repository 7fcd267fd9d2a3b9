"""Every block runs twice with the same weights."""

from plain import Plain


class Twice(Plain):
    def body(self, x_BTD):
        return super().body(super().body(x_BTD))


build = Twice
