"""States an eighth of the tokens and computes all of them."""

from plain import Block, Plain, mask

CAUGHT = "computes what it claims to skip"


class Masks(Block):
    capacity, executed_tokens = 0.125, 0

    def forward(self, x_BTD):
        self.executed_tokens = x_BTD.shape[0] * int(x_BTD.shape[1] * 0.125)
        return x_BTD + mask(x_BTD.shape[1], 0.125) * (super().forward(x_BTD) - x_BTD)


def build(config):
    model = Plain(config)
    model.blocks[1] = Masks()
    return model
