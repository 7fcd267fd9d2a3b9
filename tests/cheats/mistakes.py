"""Models that do something wrong: one mistake each."""

import threading

import torch
from plain import Block, Plain, mask, mistake
from torch.nn import functional as F


@mistake("computes in another precision")
class MultipliesInBf16(Plain):
    def forward(self, tokens_BT):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(tokens_BT).float()


@mistake("computes in another precision")
class Int8Products(Plain):
    """In a case of fp32: a case cannot say int8."""

    def _int8(self, x_BTD, linear):
        x_ND = x_BTD.flatten(0, 1)
        scales = (x_ND.detach().abs().max() / 127, linear.weight.detach().abs().max() / 127)
        x8_ND, w8_OD = ((a / s).round().to(torch.int8) for a, s in zip((x_ND, linear.weight), scales, strict=True))
        y_NO = torch._int_mm(x8_ND, w8_OD.t()).float() * (scales[0] * scales[1]) + linear.bias
        return y_NO.view(*x_BTD.shape[:-1], -1)

    def body(self, x_BTD):
        if self.training:
            return super().body(x_BTD)
        for block in self.blocks:
            x_BTD = x_BTD + self._int8(F.gelu(self._int8(x_BTD, block.up)), block.down)
        return x_BTD


class Early(Block):
    capacity = 0.25

    def __init__(self, width):
        super().__init__(width)
        self.copies = [part.weight.detach().clone() for part in (self.up, self.down)]

    def forward(self, x_BTD):
        up, down = self.copies
        return x_BTD + mask(x_BTD.shape[1], 0.25) * F.linear(F.gelu(F.linear(x_BTD, up)), down)


@mistake("could not be checked")
class CopiedWhenBuilt(Plain):
    """Multiplies with copies that it made when it was built: nobody can tell whose rows these are, and the report says so."""

    others = {1: Early}


class Masks(Block):
    capacity, executed_tokens = 0.125, 0

    def forward(self, x_BTD):
        self.executed_tokens = x_BTD.shape[0] * int(x_BTD.shape[1] * 0.125)
        return x_BTD + mask(x_BTD.shape[1], 0.125) * (super().forward(x_BTD) - x_BTD)


@mistake("computes what it claims to skip")
class MasksWhatItComputed(Plain):
    """States an eighth of the tokens and computes all of them."""

    others = {1: Masks}


@mistake("computes less in training")
class DropsABlockInTraining(Plain):
    def body(self, x_BTD):
        for block in self.blocks[: 3 if self.training else 4]:
            x_BTD = block(x_BTD)
        return x_BTD


@mistake("computes less in training")
class SkipsTheBackwardPass(Plain):
    """Computes its blocks forward, and detaches them: their weights get no gradients."""

    def body(self, x_BTD):
        with torch.no_grad():
            y_BTD = super().body(x_BTD)
        return x_BTD + y_BTD


@mistake("does not compute every call")
class IgnoresItsInput(Plain):
    def forward(self, tokens_BT):
        return super().forward(tokens_BT * 0)


class Stores(Plain):
    """Keeps its answer to a batch that it has seen so often before."""

    after = 0

    def forward(self, tokens_BT):
        seen, kept = self.__dict__.setdefault("seen", {}), self.__dict__.setdefault("kept", {})
        key = tuple(tokens_BT.flatten().tolist())
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= self.after or (self.after and self.training):
            return super().forward(tokens_BT)
        if key not in kept:
            kept[key] = super().forward(tokens_BT).detach()
        return kept[key]


@mistake("does not compute every call")
class StoredByTokens(Stores):
    pass


@mistake("does not compute every call")
class StoredOnThirdSight(Stores):
    """The answer is computed before the timing, and not in it."""

    after = 2


@mistake("not usable for generation")
class ReadsTheNextToken(Plain):
    def forward(self, tokens_BT):
        logits_BTV = super().forward(tokens_BT)
        return logits_BTV + 8.0 * F.one_hot(tokens_BT.roll(-1, dims=1), logits_BTV.shape[-1])


@mistake("must return floating-point logits on cpu")
class ReturnsFromElsewhere(Plain):
    """On a device that computes nothing."""

    def forward(self, tokens_BT):
        return super().forward(tokens_BT).to("meta")


@mistake("not numbers (NaN)")
class ReturnsNoNumbers(Plain):
    """No comparison finds them different from anything."""

    def forward(self, tokens_BT):
        return super().forward(tokens_BT) * torch.nan


@mistake("FLOPs are a lower bound")
class WorksInNumpy(Plain):
    """Where no counter sees it."""

    def body(self, x_BTD):
        if self.training:
            return super().body(x_BTD)
        for block in self.blocks:
            w_DD = block.up.weight.detach().numpy().T @ block.up.weight.detach().numpy()
            x_BTD = x_BTD + torch.from_numpy(x_BTD.detach().numpy() @ w_DD) * 0.01
        return x_BTD


@mistake("FLOPs are a lower bound")
class WorksOnAThread(Plain):
    """Where no counter sees it either."""

    width = 128

    def body(self, x_BTD):
        out = []
        grad = torch.is_grad_enabled()

        def work():
            with torch.set_grad_enabled(grad):
                for _ in range(12):
                    y_BTD = super(WorksOnAThread, self).body(x_BTD)
                out.append(y_BTD)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return out[0]


@mistake("wrote into the tokens that it was given")
class WritesIntoItsInput(Plain):
    """Which the other variants read as well."""

    def forward(self, tokens_BT):
        logits_BTV = super().forward(tokens_BT)
        tokens_BT.zero_()
        return logits_BTV
