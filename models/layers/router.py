"""What all token routers share: score, decide, lose. Each router is one file under `models/routers/`.

Shapes: B batch, T tokens, D width, P positions of a noise table.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import torch
from torch import Tensor, nn

from modbench.harness.config import ModelConfig
from modbench.models.layers.trip import Trip


class Router(nn.Module):
    """Who passes through a routed block.

    In top-k mode the block takes the highest `score`s of each sequence. In causal mode a token passes where `passes`
    says so, which may look at this token and at earlier ones only.

    Args:
        config: shape and routing options.
        layer: index of the block, so that blocks can differ.
    """

    has_loss = False
    sees_tokens = True  # whether the score depends on what the tokens are, or on their places alone

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.capacity is not None
        self.config, self.layer, self.capacity = config, layer, config.capacity

    def score(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """Scores [B, T] in float32: low-precision scores tie, and ties are broken by device."""
        raise NotImplementedError

    def multiplier(self, r_BT: Tensor) -> Tensor | None:  # for those that weigh
        """What multiplies the block's output; None is 1."""

    def passes(self, x_BTD: Tensor, r_BT: Tensor, trip: Trip) -> Tensor:
        """Decisions [B, T] that use no later token.

        Raises:
            ValueError: if this router cannot decide so.
        """
        raise NotImplementedError

    def loss(self, x_BTD: Tensor, r_BT: Tensor, chosen_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """Auxiliary loss from the top-k's choice. Only asked where `has_loss`."""
        raise NotImplementedError

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Take the threshold that passes the share `capacity` of these scores, where the router has one."""

    def start(self) -> None:
        """Called once the weights are drawn."""


class Threshold(nn.Module):
    """The value that a share of scores lies above: learned from scores by `calibrate`, kept in the state dict.

    Expert-threshold routing (arXiv 2603.11535) keeps a moving average while training instead; a pass over a few batches
    afterwards leaves training free of hidden state, so that checkpointing and accumulation change nothing.
    """

    value: Tensor

    def __init__(self, start: float | Tensor | None) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(math.nan) if start is None else torch.as_tensor(start))

    def set(self, scores_N: Tensor, share: float) -> None:
        """Take the quantile of scores [..., N] above which `share` of them lie."""
        ordered = scores_N.detach().float().sort(dim=-1).values
        n = ordered.shape[-1]
        keep = min(n, max(1, round(share * n)))
        # Halfway between the last that passes and the first that does not, so that no score sits on the line.
        low = ordered[..., n - keep - 1] if keep < n else ordered[..., 0] - 1
        self.value.copy_((low + ordered[..., n - keep]) / 2)

    def ready(self) -> None:
        """Refuse to decide by a value that was never set.

        Raises:
            ValueError: naming the call that sets it.
        """
        if not self.value.is_meta and bool(self.value.isnan().any()):
            raise ValueError("this router has no threshold yet: call model.calibrate(tokens) with some typical text")


def normal_quantile(share: float) -> float:
    """The value above which `share` of a standard normal lies."""
    return -NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6))


def noise(rows: int, positions: int, name: str) -> Tensor:
    """Standard normal numbers [rows, positions] that depend on `name` alone: the same on every machine and call."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.randn(rows, positions, generator=torch.Generator().manual_seed(seed), device="cpu")


class NoiseTable:
    """Noise by row and position, made at first use and read modulo its size."""

    POSITIONS, ROWS = 4096, 64

    def __init__(self, name: str) -> None:
        self.name = name
        self._table: Tensor | None = None

    def values(self) -> Tensor:
        """The table [ROWS, POSITIONS]."""
        return noise(self.ROWS, self.POSITIONS, self.name)

    def __call__(self, position_BT: Tensor, rows: int) -> Tensor:
        """Noise [B, T] of the rows 0 to B - 1 at these positions."""
        if self._table is None or self._table.device != position_BT.device:
            self._table = self.values().to(position_BT.device)
        row_B = torch.arange(rows, device=position_BT.device)[:, None] % self.ROWS
        return self._table[row_B, position_BT % self.POSITIONS]
