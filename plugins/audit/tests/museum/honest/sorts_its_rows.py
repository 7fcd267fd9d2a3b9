"""Runs its rows in the order of their first tokens, and puts them back."""

from small import Plain, dense

EXPECTED = {"deviates": [], "like": "rows_independent"}


class Sorts(Plain):
    def forward(self, tokens_BT):
        order_B = tokens_BT[:, 0].argsort(stable=True)
        return super().forward(tokens_BT[order_B])[order_B.argsort()]


def build(config):
    return dense(config, model=Sorts)
