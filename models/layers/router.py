"""The base class of token routers, and the thresholds and noise that some use. Each router is one file in `models/routers/`.

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
from modbench.harness.core.errors import Unmeasured
from modbench.models.layers.context import ForwardContext

# Routers whose scores do not depend on the tokens: their top-k tells nothing of later ones. Any other is taken to look ahead.
BLIND = frozenset({"every_n", "stochastic", "synthetic"})


class Router(nn.Module):
    """Decides which tokens a routed block processes.

    In top-k mode the block processes the highest `score`s of each sequence; in causal mode the tokens that `selects`
    picks, which may depend on this token and earlier ones only. A router of your own defines `score`; derive it from
    `Calibrated`, and it also routes causally. What every method gets and returns is in docs/extend.md.

    Args:
        config: shape and routing options.
        layer: index of the block, so that blocks can differ.
    """

    has_loss = False

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.capacity is not None
        self.config, self.layer, self.capacity = config, layer, config.capacity

    @property
    def predicts_top_k(self) -> bool:
        """Whether `selects` can predict the top-k, without later tokens and without further calibration."""
        return self.has_causal_rule

    @property
    def has_causal_rule(self) -> bool:
        """Whether `selects` is defined."""
        return type(self).selects is not Router.selects

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Scores [B, T], returned in float32. A learned one is computed by `own_precision`."""
        raise NotImplementedError

    def multiplier(self, r_BT: Tensor) -> Tensor | None:
        """What the block's output is multiplied by; None means 1."""

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """True [B, T] where the block processes the token, decided without later tokens.

        Raises:
            ValueError: if this router cannot decide without them.
            Unmeasured: if it has no rule for that at all.
        """
        raise Unmeasured(
            f"the router {type(self).__name__} has no rule without later tokens: it defines no `selects`, as `Calibrated` does"
        )

    def loss(self, x_BTD: Tensor, r_BT: Tensor, chosen_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """Auxiliary loss, with the top-k as labels. Called only if `has_loss`."""
        raise NotImplementedError

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold, if the router has one, so that a share `capacity` of these scores lies above it."""

    def adjust_init(self) -> None:
        """Adjust the weights once they are drawn."""


def own_precision(linear: nn.Linear, x: Tensor) -> Tensor:
    """A projection in the number format of its weight, also under autocast; returned in float32.

    Low-precision scores tie, and each device breaks ties its own way. Training keeps weights in float32 and computes under
    autocast: scores are float32 there. A model that is bfloat16 as a whole has bfloat16 scores, ties included: float32 ones
    would need a float32 copy of the stream in every routed block.
    """
    x = x.to(linear.weight.dtype)
    # Autocast does not know `meta`; leaving it where it is off takes longer than the projection of one token.
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        y: Tensor = linear(x)
    else:
        with torch.autocast(x.device.type, enabled=False):
            y = linear(x)
    return y.float()


class Threshold(nn.Module):
    """A value that a given share of scores lies above. `calibrate` sets it; it is part of the state dict.

    Expert-threshold routing (arXiv 2603.11535) instead keeps a moving average during training. A pass over a few batches
    afterwards keeps training free of hidden state, so that checkpointing and accumulation change nothing.
    """

    value: Tensor

    def __init__(self, start: float | Tensor | None) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(math.nan) if start is None else torch.as_tensor(start))
        # Known on the host: reading the value would make it wait for the device at every step.
        self._known = start is not None

    def set(self, scores_N: Tensor, share: float) -> None:
        """Set the quantile of scores [..., N] above which `share` of them lie.

        The threshold is halfway between the last score above it and the next clearly lower one: equal tokens have equal
        scores up to rounding, and rounding must not decide between them.
        """
        ordered = scores_N.detach().float().sort(dim=-1).values
        n = ordered.shape[-1]
        last = ordered[..., n - min(n, max(1, round(share * n))), None]
        near = 1e-5 * (ordered[..., -1:] - ordered[..., :1]).clamp(min=1e-5)
        lower = ordered.where(ordered < last - near, -torch.inf).amax(-1, keepdim=True)
        self.value.copy_(((last + lower.where(lower.isfinite(), last - 1)) / 2).squeeze(-1))
        self._known = True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Threshold:  # noqa: FBT001, FBT002  # torch's signature
        """Move with the module, but stay in float32 like the scores."""
        exact = self.value
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        if not exact.is_meta:
            self.value = exact.to(self.value.device)
        return self

    def _load_from_state_dict(self, *args: object) -> None:
        """Load, and look once whether the value that came was set."""
        super()._load_from_state_dict(*args)
        if not self.value.is_meta:
            self._known = not bool(self.value.isnan().any())

    @property
    def is_set(self) -> bool:
        """Whether the value was set; assumed on the meta device. Never waits for a device."""
        return self.value.is_meta or self._known


class Calibrated(Router):
    """Selects what scores above a threshold, which `calibrate` sets so that a share `capacity` of ordinary tokens passes."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.threshold = Threshold(None)

    @property
    def predicts_top_k(self) -> bool:
        """Once the threshold is calibrated."""
        return self.threshold.is_set

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """Above the calibrated threshold."""
        if not self.threshold.is_set:
            raise ValueError("this router has no threshold yet: call model.calibrate(tokens) with some typical text")
        return r_BT > self.threshold.value

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold to pass `capacity` of these scores."""
        self.threshold.set(r_BT.flatten() if real_BT is None else r_BT[real_BT], self.capacity)


def normal_quantile(share: float) -> float:
    """The value above which `share` of a standard normal lies."""
    return -NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6))


def noise(rows: int, positions: int, name: str) -> Tensor:
    """Standard normal numbers [rows, positions] that depend on `name` and their place: more rows leave the first unchanged."""

    def chunk(first: int) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(f"{name} {first}".encode()).digest()[:7], "big")
        n = min(NoiseTable.ROWS, rows - first)
        return torch.randn(n, positions, generator=torch.Generator().manual_seed(seed), device="cpu")

    return torch.cat([chunk(first) for first in range(0, rows, NoiseTable.ROWS)])


class NoiseTable:
    """Noise by row and position, made at first use for the rows that are needed; positions repeat after 4,096."""

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
