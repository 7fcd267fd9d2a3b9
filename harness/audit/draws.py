"""Holds the random numbers that a model draws, so that calls of different shapes can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from modbench.harness.process.torch_modes import Operator, OperatorMode, name_of


def _argument(args: Sequence[Any], at: int, default: float) -> float:
    """A numeric argument of an operator that writes random numbers into its first."""
    return float(args[at]) if len(args) > at and isinstance(args[at], int | float) else default


# Operators that draw, each with a typical value of what it draws: its median.
MEDIANS: dict[str, Callable[[Sequence[Any]], float]] = {
    "rand": lambda _args: 0.5,
    "rand_like": lambda _args: 0.5,
    "uniform_": lambda args: (_argument(args, 1, 0.0) + _argument(args, 2, 1.0)) / 2,
    "randn": lambda _args: 0.0,
    "randn_like": lambda _args: 0.0,
    "normal_": lambda args: _argument(args, 1, 0.0),
    "exponential_": lambda args: math.log(2) / _argument(args, 1, 1.0),
    "bernoulli_": lambda args: float(_argument(args, 1, 0.5) >= 0.5),
}


class HeldDraws(OperatorMode):
    """While it is entered, what is drawn is always the same: the median of its distribution, whatever the shape."""

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Write over what was drawn."""
        median = MEDIANS.get(name_of(operator))
        if median is not None and isinstance(out, Tensor):
            out.fill_(median(args))
