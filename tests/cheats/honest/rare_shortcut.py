"""One batch in several is much cheaper than the others."""

from plain import Plain


class Rare(Plain):
    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks[: 1 if int(tokens_BT[0, 0]) % 5 == 0 else 4]:
            x_BTD = block(x_BTD)
        return self.head(x_BTD)


build = Rare
