"""A small Mixture-of-Depths with switches for ways to differ from the paper that no piece of the museum has."""

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
        routers: of a routed block.
        routed: numbers of the routed blocks.
        noise: size of random noise in scores, in evaluation too.
        state: whether each call counts, and the count scales the scores.
        causal: whether a score above 0 decides, not the top-k.
    """

    routers: int = 1
    routed: tuple[int, ...] = (1, 3)
    noise: float = 0.0
    state: bool = False
    causal: bool = False


CAPACITY = 0.25


def rotated(x_BHTE: Tensor, position_BT: Tensor) -> Tensor:
    """Rotary positions."""
    half = x_BHTE.shape[-1] // 2
    angle = position_BT[:, None, :, None] * 0.5 ** torch.arange(half, device=x_BHTE.device).double()
    cos, sin = angle.cos().to(x_BHTE.dtype), angle.sin().to(x_BHTE.dtype)
    one, two = x_BHTE[..., :half], x_BHTE[..., half:]
    return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)


class Dense(nn.Module):
    """A block: attention, then an MLP."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.keys, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def attend(self, x_BND: Tensor, at_BN: Tensor) -> Tensor:
        """Attention of tokens at positions to each other; none to later ones."""
        b, n, d = x_BND.shape
        q, (k, v) = self.query(self.norm1(x_BND)), self.keys(self.norm1(x_BND)).chunk(2, -1)
        q, k, v = (each.view(b, -1, 2, d // 2).transpose(1, 2) for each in (q, k, v))
        q, k = rotated(q, at_BN), rotated(k, at_BN)
        allowed = (at_BN[:, None, :] <= at_BN[:, :, None])[:, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        y_BND: Tensor = self.out(y.transpose(1, 2).reshape(b, n, d))
        return y_BND

    def mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(self.norm2(x))))
        return y

    def forward(self, x_BTD: Tensor) -> Tensor:
        at_BT = torch.arange(x_BTD.shape[1]).expand(x_BTD.shape[:2])
        x_BTD = x_BTD + self.attend(x_BTD, at_BT)
        return x_BTD + self.mlp(x_BTD)


class RoutedBlock(Dense):
    """A block that takes some tokens."""

    def __init__(self, d: int, toy: Toy) -> None:
        super().__init__(d)
        self.toy = toy
        self.routers = nn.ModuleList([nn.Linear(d, 1, bias=False) for _ in range(toy.routers)])
        self.total = 0.0

    def score(self, x_BTD: Tensor) -> Tensor:
        r_BT: Tensor = torch.stack([router(x_BTD).squeeze(-1) for router in self.routers]).sum(0)
        if self.toy.noise:
            r_BT = r_BT + self.toy.noise * torch.randn_like(r_BT)
        if self.toy.state:
            self.total += 1
            r_BT = r_BT * (1 + 0.1 * self.total)
        return r_BT

    def choice(self, r_BT: Tensor) -> Tensor:
        if self.toy.causal:
            return r_BT > 0
        best = r_BT.topk(max(1, int(CAPACITY * r_BT.shape[1])), -1).indices
        return torch.zeros_like(r_BT, dtype=torch.bool).scatter(-1, best, True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        r_BT, out_BTD = self.score(x_BTD), x_BTD.clone()
        for row, mask_T in enumerate(self.choice(r_BT)):
            own_N = torch.nonzero(mask_T).flatten()
            if not len(own_N):
                continue
            x_1ND = x_BTD[row : row + 1, own_N]
            a_1ND = self.attend(x_1ND, own_N[None])
            f_1ND = a_1ND + self.mlp(x_1ND + a_1ND)
            out_BTD[row, own_N] = (x_1ND + r_BT[row, own_N][None, :, None] * f_1ND)[0]
        return out_BTD


class Model(nn.Module):
    """An embedding, blocks, a head."""

    def __init__(self, toy: Toy, *, vocab_size: int = 64, d: int = 32, layers: int = 4, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.head = nn.Embedding(vocab_size, d), nn.Linear(d, vocab_size)
        self.blocks = nn.ModuleList(
            [RoutedBlock(d, toy) if number in toy.routed else Dense(d) for number in range(layers)]
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
