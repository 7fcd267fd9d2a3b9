"""Takes the lengths of padded rows, and sets logits of padding to 0."""

import torch
from small import Dense, dense

EXPECTED = {"deviates": [], "like": "alone"}


class Lengths(Dense):
    def forward(self, tokens_BT, lengths_B=None):
        logits_BTV = self.run(tokens_BT)
        if lengths_B is None:
            return logits_BTV
        return logits_BTV * (torch.arange(tokens_BT.shape[1]) < lengths_B[:, None])[..., None]


def build(config):
    return dense(config, model=Lengths)
