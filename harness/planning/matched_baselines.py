"""Solves for the shape that costs what another variant costs, or a multiple of it: d_ff first, then depth, then width."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from modbench.harness.core.config import MOST_WIDTH, ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import percent
from modbench.harness.domain.variant_tables import Quantity

# Multiples of 8 keep matrix kernels aligned; a practitioner would choose such a width.
STEP = 8
# An MLP of more than this many times its width is no shape that anybody would choose.
MOST_WIDER = 2
# Least width of a head.
NARROWEST = 8

Amount = Callable[[ModelConfig], float]


class Amounts(Protocol):
    """What has the quantities that are not times: a closed form, or what was counted of a user's model."""

    @property
    def forward(self) -> float: ...  # noqa: D102
    @property
    def train_step(self) -> float: ...  # noqa: D102
    @property
    def params(self) -> int: ...  # noqa: D102


class Matched(NamedTuple):
    """A quantity that can be matched.

    Attributes:
        letter: stands in a matched baseline's name.
        of: reads it from what a case costs; None: it is a time.
        tolerance: how far a shape may be from its target, as a share. Predicted times grow in steps of the peaks by shape.
    """

    letter: str
    of: Callable[[Amounts], float] | None
    tolerance: float = 0.01


QUANTITIES: dict[Quantity, Matched] = {
    "flops/forward": Matched("f", lambda cost: cost.forward),
    "flops/train_step": Matched("t", lambda cost: cost.train_step),
    "params": Matched("p", lambda cost: cost.params),
    "latency/forward": Matched("s", None, 0.02),
}


def solve(base: ModelConfig, amount: Amount, target: float, quantity: Quantity = "flops/forward") -> ModelConfig:
    """Find the shape nearest to `base` that costs `target`, within the quantity's tolerance.

    The MLP is made narrower, or wider, first. A layer is removed only if `d_ff` would fall below a quarter of `d_model`. If no
    depth is cheap enough, or `d_ff` would have to be more than twice as wide, heads are removed or added, and `d_model` with
    them; the last head is made narrower.

    Args:
        base: shape to start from; only `d_ff`, `n_layers`, and `d_model` with its heads change.
        amount: the quantity of a shape, at the length and batch of interest.
        target: the amount to reach.
        quantity: what is matched: a key of `QUANTITIES`.

    Raises:
        UsageError: if no such shape exists.
    """
    tolerance = QUANTITIES[quantity].tolerance
    for wide in _widths(base, amount, target):
        if (found := _of_width(wide, amount, target, tolerance)) is not None:
            return found
    raise UsageError(
        f"no shape of at most {base.n_layers} layers has {quantity} {target:.3g} within {percent(tolerance)}: change n_layers, "
        "or match a variant that costs more."
    )


def _widths(base: ModelConfig, amount: Amount, target: float) -> Iterator[ModelConfig]:
    """Shapes to start from: the given one, narrower ones; or wider ones where the MLP would have to be too wide."""

    def wide(heads: int, head_dim: int = base.head_dim) -> ModelConfig:
        share = heads * head_dim / base.attention_width
        changed = {"d_model": max(2, round(base.d_model * share)), "d_ff": max(1, round(base.d_ff * share))}
        heads_of = {"n_heads": heads, "n_kv_heads": math.gcd(heads, base.n_kv_heads), "head_dim": head_dim}
        return base.model_copy(update=changed | heads_of)

    def reaches(heads: int) -> bool:
        shape = wide(heads)
        return amount(shape.model_copy(update={"d_ff": MOST_WIDER * shape.d_ff})) >= target

    if reaches(base.n_heads):
        yield from map(wide, range(base.n_heads, 0, -1))
        narrow = base.head_dim // 2
        while narrow >= NARROWEST and narrow % 2 == 0:
            yield wide(1, narrow)
            narrow //= 2
        return
    most = base.n_heads
    while most * base.d_model < MOST_WIDTH * base.n_heads and not reaches(most):
        most *= 2
    first = bisect.bisect_left(range(base.n_heads, most), True, key=reaches) + base.n_heads
    yield from map(wide, (first, first + 1))


def _of_width(base: ModelConfig, amount: Amount, target: float, tolerance: float) -> ModelConfig | None:
    """The shape of this width; None if it has none."""

    def too_dear(n_layers: int) -> bool:
        narrowest = base.model_copy(update={"d_ff": base.d_model // 4, "n_layers": n_layers})
        return amount(narrowest) > (1 + 2 * tolerance) * target

    deepest = bisect.bisect_left(range(2, base.n_layers + 1), True, key=too_dear) + 1
    for n_layers in range(deepest, 0, -1):
        floor = max(1, base.d_model // 4) if n_layers > 1 else 1

        def shape(d_ff: int, n_layers: int = n_layers) -> ModelConfig:
            return base.model_copy(update={"d_ff": d_ff, "n_layers": n_layers})

        for step in (STEP, 1):
            least = -(-floor // step)
            grid_points = range(step * least, step * least + 4 * MOST_WIDER * base.d_ff, step)
            at = bisect.bisect_left(grid_points, target, key=lambda d_ff: amount(shape(d_ff)))
            near = (shape(grid_points[i]) for i in (at, at - 1) if 0 <= i < len(grid_points))
            best = min(near, key=lambda config: abs(amount(config) / target - 1))
            if abs(amount(best) / target - 1) <= tolerance:
                return best
    return None
