"""Keeps what half of its layers made of a tensor, by the tensor's address: every call still runs half of the FLOPs."""

from plain import Plain

CAUGHT = "does not compute every call"


class Half(Plain):
    def forward(self, tokens_BT):
        kept = self.__dict__.setdefault("kept", {})
        key = (tokens_BT.data_ptr(), self.training)
        seen, x_BTD = kept.get(key, (0, None))
        if seen < 3 or self.training:
            x_BTD = self.embedding(tokens_BT)
            for block in self.blocks[:2]:
                x_BTD = block(x_BTD)
            kept[key] = (seen + 1, x_BTD.detach())
        for block in self.blocks[2:]:
            x_BTD = block(x_BTD)
        return self.head(x_BTD)


build = Half
