"""A small Mixture-of-Depths with one switch for each way in which released code differs from the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Toy:
    """The switches; as they are, the model is the paper's.

    Attributes:
        capacity: share of tokens of a routed block.
        less: tokens less than k.
        weigh: what multiplies the block's output: the score `raw`, its `sigmoid`, its `softmax` over the chosen, or 1 (`none`).
        form: `x + rf`, `r(x + f)`, `doubled` (x + r(x + f)), `twice` (2x + rf), or `mlp` (the score weighs the MLP alone).
        masks: whether all tokens are computed, and masked.
        keys: `chosen` tokens, or `all`.
        positions: each token's `own`, numbered anew (`compact`), or `none`.
        routers: of a routed block; 0: all share one.
        routed: numbers of the routed blocks.
        cut: whether the router gets no gradient.
        bypass: what a token that is not chosen is multiplied by.
        noise: size of random noise in scores, in evaluation too.
        coupled: whether the first row decides for all.
        state: whether each call counts, and the count scales the scores.
        over_batch: whether the top-k is taken over the whole batch.
        causal: whether a score above 0 decides, not the top-k.
    """

    capacity: float = 0.25
    less: int = 0
    weigh: str = "raw"
    form: str = "x + rf"
    masks: bool = False
    keys: str = "chosen"
    positions: str = "own"
    routers: int = 1
    routed: tuple[int, ...] = (1, 3)
    cut: bool = False
    bypass: float = 1.0
    noise: float = 0.0
    coupled: bool = False
    state: bool = False
    over_batch: bool = False
    causal: bool = False


def rotated(x_BHTE: Tensor, position_BT: Tensor) -> Tensor:
    """Rotary positions."""
    half = x_BHTE.shape[-1] // 2
    angle = position_BT[:, None, :, None] * 0.5 ** torch.arange(half, device=x_BHTE.device).double()
    cos, sin = angle.cos().to(x_BHTE.dtype), angle.sin().to(x_BHTE.dtype)
    one, two = x_BHTE[..., :half], x_BHTE[..., half:]
    return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)


class Dense(nn.Module):
    """A block: attention, then an MLP."""

    def __init__(self, d: int, toy: Toy) -> None:
        super().__init__()
        self.toy = toy
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.keys, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def attend(self, x_BND: Tensor, at_BN: Tensor, from_BMD: Tensor, from_BM: Tensor) -> Tensor:
        """Attention of tokens at positions, to tokens at positions; none to later ones."""
        b, n, d = x_BND.shape
        q, (k, v) = self.query(self.norm1(x_BND)), self.keys(self.norm1(from_BMD)).chunk(2, -1)
        q, k, v = (each.view(b, -1, 2, d // 2).transpose(1, 2) for each in (q, k, v))
        if self.toy.positions != "none":
            q, k = rotated(q, at_BN), rotated(k, from_BM)
        allowed = (from_BM[:, None, :] <= at_BN[:, :, None])[:, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        y_BND: Tensor = self.out(y.transpose(1, 2).reshape(b, n, d))
        return y_BND

    def mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(self.norm2(x))))
        return y

    def forward(self, x_BTD: Tensor) -> Tensor:
        at_BT = torch.arange(x_BTD.shape[1]).expand(x_BTD.shape[:2])
        x_BTD = x_BTD + self.attend(x_BTD, at_BT, x_BTD, at_BT)
        return x_BTD + self.mlp(x_BTD)


class RoutedBlock(Dense):
    """A block that takes some tokens."""

    def __init__(self, d: int, toy: Toy, shared: nn.Linear | None) -> None:
        super().__init__(d, toy)
        self.router = shared or nn.Linear(d, 1, bias=False)
        self.further = nn.ModuleList([nn.Linear(d, 1, bias=False) for _ in range(toy.routers - 1)])
        self.total = 0.0

    def score(self, x_BTD: Tensor) -> Tensor:
        toy = self.toy
        r_BT: Tensor = self.router(x_BTD.detach() if toy.cut else x_BTD).squeeze(-1)
        for further in self.further:
            r_BT = r_BT + further(x_BTD).squeeze(-1)
        if toy.noise:
            r_BT = r_BT + toy.noise * torch.randn_like(r_BT)
        if toy.state:
            self.total += 1
            r_BT = r_BT * (1 + 0.1 * self.total)
        if toy.cut:
            r_BT = r_BT.detach()
        return r_BT

    def choice(self, r_BT: Tensor) -> Tensor:
        toy, t = self.toy, r_BT.shape[1]
        if toy.causal:
            return r_BT > 0
        k = max(0, max(1, int(toy.capacity * t)) - toy.less)
        flat = r_BT.flatten() if toy.over_batch else r_BT
        best = flat.topk(k * (len(r_BT) if toy.over_batch else 1), -1).indices
        mask_BT = torch.zeros_like(flat, dtype=torch.bool).scatter(-1, best, True).view(r_BT.shape)
        return mask_BT[:1].expand_as(mask_BT) if toy.coupled else mask_BT

    def forward(self, x_BTD: Tensor) -> Tensor:
        toy, r_BT = self.toy, self.score(x_BTD)
        mask_BT = self.choice(r_BT)
        out_BTD = x_BTD * toy.bypass if toy.bypass != 1 else x_BTD.clone()
        if toy.masks:
            at_BT = torch.arange(x_BTD.shape[1]).expand(x_BTD.shape[:2])
            h_BTD = x_BTD + self.attend(x_BTD, at_BT, x_BTD, at_BT)
            f_BTD = h_BTD + self.mlp(h_BTD) - x_BTD
            return x_BTD + mask_BT[..., None] * r_BT[..., None] * f_BTD
        for row, mask_T in enumerate(mask_BT):
            own_N = torch.nonzero(mask_T).flatten()
            if not len(own_N):
                continue
            x_1ND = x_BTD[row : row + 1, own_N]
            at_1N = (torch.arange(len(own_N)) if toy.positions == "compact" else own_N)[None]
            from_1MD, from_1M = (x_1ND, at_1N)
            if toy.keys == "all":
                from_1MD, from_1M = x_BTD[row : row + 1], torch.arange(x_BTD.shape[1])[None]
            a_1ND = self.attend(x_1ND, at_1N, from_1MD, from_1M)
            m_1ND = self.mlp(x_1ND + a_1ND)
            out_BTD[row, own_N] = self.weighed(x_1ND, a_1ND, m_1ND, r_BT[row, own_N])[0]
        return out_BTD

    def weighed(self, x_1ND: Tensor, a_1ND: Tensor, m_1ND: Tensor, r_N: Tensor) -> Tensor:
        toy, f_1ND = self.toy, a_1ND + m_1ND
        weight = {"raw": r_N, "sigmoid": r_N.sigmoid(), "softmax": r_N.softmax(-1), "none": torch.ones_like(r_N)}
        r_1N1 = weight[toy.weigh][None, :, None]
        forms = {
            "x + rf": x_1ND + r_1N1 * f_1ND,
            "r(x + f)": r_1N1 * (x_1ND + f_1ND),
            "doubled": x_1ND + r_1N1 * (x_1ND + f_1ND),
            "twice": 2 * x_1ND + r_1N1 * f_1ND,
            "mlp": x_1ND + a_1ND + r_1N1 * m_1ND,
        }
        return forms[toy.form]


class Model(nn.Module):
    """An embedding, blocks, a head."""

    def __init__(self, toy: Toy, *, vocab_size: int = 64, d: int = 32, layers: int = 4, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.head = nn.Embedding(vocab_size, d), nn.Linear(d, vocab_size)
        shared = nn.Linear(d, 1, bias=False) if toy.routers == 0 else None
        self.blocks = nn.ModuleList(
            [RoutedBlock(d, toy, shared) if number in toy.routed else Dense(d, toy) for number in range(layers)]
        )

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV: Tensor = self.head(x_BTD)
        return logits_BTV


def toy(**switches: Any) -> Model:
    """A model with these switches."""
    return Model(Toy(**switches))
