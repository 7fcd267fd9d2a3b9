"""Its cost depends on the input: it runs as many blocks as the tokens of the batch ask for."""

from plain import Plain


class Exits(Plain):
    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks[: 1 + int(tokens_BT[:, 0].sum()) % 4]:
            x_BTD = block(x_BTD)
        return self.head(x_BTD)


build = Exits
