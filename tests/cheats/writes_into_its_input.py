"""Writes into the tokens, which the other variants read as well."""

from plain import Plain

CAUGHT = "wrote into the tokens that it was given"


class Scribbles(Plain):
    def forward(self, tokens_BT):
        logits_BTV = super().forward(tokens_BT)
        tokens_BT.zero_()
        return logits_BTV


build = Scribbles
