"""Each row runs as many blocks as its first token asks for: the cost depends on the data, row by row."""

import torch
from small import Plain, dense

EXPECTED = {"deviates": [], "like": "alone"}


class Exits(Plain):
    def forward(self, tokens_BT):
        return torch.cat([self.row(tokens_1T) for tokens_1T in tokens_BT.split(1)])

    def row(self, tokens_1T):
        x_1TD, at_1T = self.embedding(tokens_1T), torch.arange(tokens_1T.shape[1])[None]
        for block in self.blocks[: 1 + int(tokens_1T[0, 0]) % len(self.blocks)]:
            x_1TD = block(x_1TD, at_1T)
        return self.head(self.norm(x_1TD))


def build(config):
    return dense(config, model=Exits)
