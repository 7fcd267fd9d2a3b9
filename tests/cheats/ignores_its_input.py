"""Computes, and always the same."""

from plain import Plain

CAUGHT = "does not compute every call"


class Deaf(Plain):
    def forward(self, tokens_BT):
        return super().forward(tokens_BT * 0)


build = Deaf
