"""What a converted model leaves open, as stored under `mod` in its config.json. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from modbench.extend import UsageError, check_capacity

Causal = Literal["threshold", "predictor"]
MOST_WIDTH = 2**20


@dataclass(frozen=True)
class MoDOptions:
    """Which layers are routed, and how.

    Attributes:
        capacity: share of the tokens that a routed layer processes.
        every: every n-th layer is routed.
        first_routed: index of the first routed layer, counted from 0.
        causal: how a token is chosen where later ones may not be read: its score is above a calibrated `threshold`, or a
            `predictor` of the top-k says so.
        predictor_width: hidden width of the predictor.
        router_init: standard deviation of the scores at the start; the multiplier of a score of 0 is 1.
    """

    capacity: float = 0.125
    every: int = 2
    first_routed: int = 1
    causal: Causal = "threshold"
    predictor_width: int = 64
    router_init: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what nobody can mean.

        Raises:
            UsageError: if a value is out of its range.
        """
        check_capacity(self.capacity)
        rules = (
            ("every", self.every >= 1, "1 or more"),
            ("first_routed", self.first_routed >= 0, "0 or more"),
            ("causal", self.causal in get_args(Causal), "threshold or predictor"),
            ("predictor_width", 1 <= self.predictor_width <= MOST_WIDTH, f"from 1 to {MOST_WIDTH}"),
            ("router_init", 0 <= self.router_init < math.inf, "0 or more, and finite"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UsageError(f"{name} {getattr(self, name)!r}: must be {rule}.")

    def layers(self, number: int) -> list[int]:
        """Indices of the routed layers among `number`.

        Raises:
            UsageError: if there is none.
        """
        routed = list(range(self.first_routed, number, self.every))
        if not routed:
            raise UsageError(
                f"first_routed {self.first_routed}: the model has the layers 0 to {number - 1}, so none would be routed."
            )
        return routed

    def kept(self, tokens: int) -> int:
        """Tokens of a sequence that a routed layer processes by top-k: k = max(1, floor(c·T))."""
        return max(1, math.floor(self.capacity * tokens + 1e-9))

    def as_dict(self) -> dict[str, Any]:
        """The fields, for config.json."""
        return asdict(self)
