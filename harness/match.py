"""Solve for the smaller shape that costs what another arm costs: d_ff first, then depth."""

from __future__ import annotations

from collections.abc import Callable

from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost
from modbench.harness.errors import UsageError

TOLERANCE = 0.01
# Hidden widths that are multiples of 8 keep matrix kernels aligned: the reader would buy one of these.
STEP = 8

CostFunction = Callable[[ModelConfig], Cost]


def solve(base: ModelConfig, cost: CostFunction, target: float) -> ModelConfig:
    """The shape nearest to `base` whose forward FLOPs are within 1 % of `target`.

    Width of the MLP goes first; a layer is taken away only where less than a quarter of the width would be left of it.

    Args:
        base: shape to shrink; only `d_ff` and `n_layers` change.
        cost: closed form of the model at the length and batch of interest.
        target: forward FLOPs to reach.

    Raises:
        UsageError: if no such shape exists.
    """
    for n_layers in range(base.n_layers, 0, -1):
        floor = base.d_model // 4 if n_layers > 1 else 1

        def shape(d_ff: int, n_layers: int = n_layers) -> ModelConfig:
            return base.model_copy(update={"d_ff": d_ff, "n_layers": n_layers})

        one, two = cost(shape(1)).forward, cost(shape(2)).forward
        exact = 1 + (target - one) / (two - one)  # cost is linear in d_ff
        for step in (STEP, 1):
            d_ff = round(exact / step) * step
            if floor <= d_ff and abs(cost(shape(d_ff)).forward / target - 1) <= TOLERANCE:
                return shape(d_ff)
    raise UsageError(
        f"no shape of at most {base.n_layers} layers and width {base.d_model} costs {target:.3g} FLOPs within "
        f"{TOLERANCE:.0%}: raise n_layers, or match an arm with a higher capacity."
    )
