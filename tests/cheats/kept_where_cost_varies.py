"""Its cost depends on the input, which hides that it keeps some blocks of every batch that it has seen."""

from plain import Plain

CAUGHT = "does not compute every call"


class Hides(Plain):
    def body(self, x_BTD):
        kept = self.__dict__.setdefault("kept", {})
        key = float(x_BTD.detach().sum())
        for number in range(int(abs(key) * 1e3) % 3):
            x_BTD = self.blocks[number](x_BTD)
        seen, y_BTD = kept.get(key, (0, None))
        if seen < 3 or self.training:
            y_BTD = self.blocks[3](self.blocks[2](x_BTD))
            kept[key] = (seen + 1, y_BTD.detach())
        return y_BTD


def build(config):
    return Hides(config)
