"""The paper's; the blocks lie in a module of their own, which maps the stream to the stream as each of them does."""

from routed import MoD, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_blocks"}


class Stack(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x_BTD, at_BT, cache, causal):
        for i, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, at_BT, None if cache is None else cache[i], causal)
        return x_BTD


class Stacked(MoD):
    def __init__(self, config, blocks):
        super().__init__(config, ())
        self.stack = Stack(nn.ModuleList(blocks))

    def body(self, x_BTD, at_BT, cache, causal):
        return self.stack(x_BTD, at_BT, cache, causal)

    def prefill(self, tokens_BT):
        self.blocks = self.stack.layers  # whose caches are made
        try:
            return super().prefill(tokens_BT)
        finally:
            self.blocks = nn.ModuleList()


def build(config, capacity=0.25):
    return mod(config, capacity, model=Stacked)
