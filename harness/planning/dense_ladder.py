"""Solves for the shape that costs what another arm costs, or a multiple of it, in FLOPs or parameters: d_ff first, then depth."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost
from modbench.harness.core.errors import UsageError

TOLERANCE = 0.01
# Multiples of 8 keep matrix kernels aligned; a practitioner would choose such a width.
STEP = 8

CostFunction = Callable[[ModelConfig], Cost]
# Quantities that can be matched: how each is read from a cost, and its letter in a rung's name.
QUANTITIES: dict[str, tuple[Callable[[Cost], float], str]] = {
    "flops/forward": (lambda cost: cost.forward, "f"),
    "flops/train_step": (lambda cost: cost.train_step, "t"),
    "params": (lambda cost: cost.params, "p"),
}


def solve(base: ModelConfig, cost: CostFunction, target: float, quantity: str = "flops/forward") -> ModelConfig:
    """Find the shape nearest to `base` whose cost is within 1 % of `target`.

    The MLP is made narrower, or wider, first; a layer is removed only if `d_ff` would fall below a quarter of `d_model`.

    Args:
        base: shape to start from; only `d_ff` and `n_layers` change.
        cost: closed form of the model at the length and batch of interest.
        target: the cost to reach.
        quantity: the quantity to match: a key of `QUANTITIES`.

    Raises:
        UsageError: if no such shape exists.
    """
    amount, _ = QUANTITIES[quantity]

    def too_dear(n_layers: int) -> bool:
        narrowest = base.model_copy(update={"d_ff": base.d_model // 4, "n_layers": n_layers})
        return amount(cost(narrowest)) > (1 + 2 * TOLERANCE) * target

    deepest = bisect.bisect_left(range(2, base.n_layers + 1), True, key=too_dear) + 1
    for n_layers in range(deepest, 0, -1):
        floor = base.d_model // 4 if n_layers > 1 else 1

        def shape(d_ff: int, n_layers: int = n_layers) -> ModelConfig:
            return base.model_copy(update={"d_ff": d_ff, "n_layers": n_layers})

        one, two = amount(cost(shape(1))), amount(cost(shape(2)))
        exact = 1 + (target - one) / (two - one)  # cost is linear in d_ff
        for step in (STEP, 1):
            d_ff = round(exact / step) * step
            if floor <= d_ff and abs(amount(cost(shape(d_ff))) / target - 1) <= TOLERANCE:
                return shape(d_ff)
    raise UsageError(
        f"no shape of at most {base.n_layers} layers and width {base.d_model} has {quantity} {target:.3g} within "
        f"{TOLERANCE:.0%}: raise n_layers, or match an arm with a higher capacity."
    )
