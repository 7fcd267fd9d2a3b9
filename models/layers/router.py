"""What all token routers share: score, decide, lose. Each router is one file under `models/routers/`.

Shapes: B batch, T tokens, D width, P positions of a noise table.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
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

    @property
    def foretells(self) -> bool:
        """Whether `passes` can say, now and without the future, who would be in the top-k."""
        return True

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
        """Take the quantile of scores [..., N] above which `share` of them lie.

        The line lies halfway between the last score that passes and the next that is clearly lower: tokens that are alike
        score alike up to rounding, and no rounding may decide for them.
        """
        ordered = scores_N.detach().float().sort(dim=-1).values
        n = ordered.shape[-1]
        last = ordered[..., n - min(n, max(1, round(share * n))), None]
        near = 1e-5 * (ordered[..., -1:] - ordered[..., :1]).clamp(min=1e-5)
        lower = ordered.where(ordered < last - near, -torch.inf).amax(-1, keepdim=True)
        self.value.copy_(((last + lower.where(lower.isfinite(), last - 1)) / 2).squeeze(-1))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Threshold:  # noqa: FBT001, FBT002  # torch's own
        """Move with the module, and stay in float32 as scores do."""
        exact = self.value
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's own
        if not exact.is_meta:
            self.value = exact.to(self.value.device)
        return self

    @property
    def known(self) -> bool:
        """Whether the value was set. On the meta device nobody can tell."""
        return self.value.is_meta or not bool(self.value.isnan().any())

    def ready(self) -> None:
        """Refuse to decide by a value that was never set.

        Raises:
            ValueError: naming the call that sets it.
        """
        if not self.known:
            raise ValueError("this router has no threshold yet: call model.calibrate(tokens) with some typical text")


def normal_quantile(share: float) -> float:
    """The value above which `share` of a standard normal lies."""
    return -NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6))


def noise(rows: int, positions: int, name: str) -> Tensor:
    """Standard normal numbers [rows, positions] that depend on `name` alone, and row i on i: more rows change none."""

    def some(first: int) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(f"{name} {first}".encode()).digest()[:7], "big")
        n = min(NoiseTable.ROWS, rows - first)
        return torch.randn(n, positions, generator=torch.Generator().manual_seed(seed), device="cpu")

    return torch.cat([some(first) for first in range(0, rows, NoiseTable.ROWS)])


class NoiseTable:
    """Noise by row and position, made at first use for as many rows as are asked for; positions repeat after 4,096."""

    POSITIONS, ROWS = 4096, 64

    def __init__(self, name: str) -> None:
        self.name = name
        self._table: Tensor | None = None

    def values(self, rows: int) -> Tensor:
        """The table [rows, POSITIONS]."""
        return noise(rows, self.POSITIONS, self.name)

    def __call__(self, position_BT: Tensor, rows: int) -> Tensor:
        """Noise [B, T] of the rows 0 to B - 1 at these positions."""
        table = self._table
        if table is None or table.shape[0] < rows or table.device != position_BT.device:
            table = self.values(-(-rows // self.ROWS) * self.ROWS).to(position_BT.device)
            self._table = table
        return table[torch.arange(rows, device=position_BT.device)[:, None], position_BT % self.POSITIONS]
