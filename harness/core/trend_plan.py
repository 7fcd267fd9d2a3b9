"""How the loss of an arm beside the anchor's is followed over training budgets. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator

from modbench.harness.core.confirm_plan import SMOKE_SEEDS
from modbench.harness.core.frozen import Frozen

Seeds = Annotated[int, Field(ge=2, le=1000)]


class TrendPlan(Frozen):
    """How the difference between two arms is followed over the budgets of a sweep.

    Attributes:
        seeds: fresh seeds of each arm and size: one number for every budget, or one for each, smallest budget first.
        explored: largest budget at which sizes are explored, in FLOPs; above it each arm gets the two sizes around the optimum
            that the smaller budgets predict; None: every budget is.
        forecast: budget whose difference is forecast, in FLOPs; None: none is.
        forecast_seeds: fresh seeds of each arm and size there, for which the forecast's interval holds.
        minutes: time that the fresh runs may take; `modbench plan` says how many seeds fit; None: any.
        first_seed: fresh seeds count from here; the sweep's own seeds are below.
    """

    seeds: Seeds | tuple[Seeds, ...] = 8
    explored: Annotated[float, Field(gt=0)] | None = None
    forecast: Annotated[float, Field(gt=0)] | None = None
    forecast_seeds: Seeds = 4
    minutes: Annotated[float, Field(gt=0)] | None = None
    first_seed: Annotated[int, Field(ge=1, lt=2**62)] = 1000

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_is_itself(cls, value: object) -> object:
        return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value

    def explores(self, budget: float) -> bool:
        """Whether sizes are explored at a budget."""
        return self.explored is None or budget <= self.explored

    def fresh(self, budget: float, budgets: Sequence[float], claims: bool) -> range:  # noqa: FBT001  # of the suite
        """The fresh seeds at one of the budgets; a suite that claims nothing has few."""
        number = self.seeds if isinstance(self.seeds, int) else self.seeds[sorted(budgets).index(budget)]
        return range(self.first_seed, self.first_seed + (number if claims else SMOKE_SEEDS))
