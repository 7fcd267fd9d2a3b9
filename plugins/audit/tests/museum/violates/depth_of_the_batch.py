"""The batch has one depth: all rows run as many blocks as the first tokens of all of them ask for together."""

import torch
from small import Plain, dense

EXPECTED = {"deviates": ["rows_independent"]}


class Together(Plain):
    def forward(self, tokens_BT):
        x_BTD, at_BT = self.embedding(tokens_BT), torch.arange(tokens_BT.shape[1]).expand_as(tokens_BT)
        for block in self.blocks[: 1 + int(tokens_BT[:, 0].sum()) % len(self.blocks)]:
            x_BTD = block(x_BTD, at_BT)
        return self.head(self.norm(x_BTD))


def build(config):
    return dense(config, model=Together)
