"""Keeps its answer to every batch that it has seen."""

from plain import Plain

CAUGHT = "does not compute every call"


class Stores(Plain):
    def forward(self, tokens_BT):
        kept = self.__dict__.setdefault("kept", {})
        key = tuple(tokens_BT.flatten().tolist())
        if key not in kept:
            kept[key] = super().forward(tokens_BT).detach()
        return kept[key]


build = Stores
