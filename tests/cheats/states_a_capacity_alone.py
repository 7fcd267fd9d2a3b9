"""States only a capacity, never how many tokens it executed, and computes all of them."""

from plain import Block, Plain, mask

CAUGHT = "computes what it claims to skip"


class Alone(Block):
    capacity = 0.25

    def forward(self, x_BTD):
        return x_BTD + mask(x_BTD.shape[1], 0.25) * (super().forward(x_BTD) - x_BTD)


def build(config):
    model = Plain(config)
    model.blocks[1] = Alone()
    return model
