"""`[trend]` of a suite: how the difference between two variants is followed over the budgets of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from modbench.extend import SuiteTable, TablePlan, UsageError
from modbench.plugins.sweeps.confirmation.table import SMOKE_SEEDS, ConfirmPlan, check_fresh
from modbench.plugins.sweeps.isoflop.plan import IsoflopPlan

if TYPE_CHECKING:
    from modbench.extend import Suite

Seeds = Annotated[int, Field(ge=2, le=1000)]


class TrendPlan(TablePlan):
    """How the difference between two variants is followed over the budgets of a sweep.

    Attributes:
        seeds: new seeds of each variant and size: one number for every budget, or one for each, smallest budget first.
        explored: largest budget at which sizes are explored, in FLOPs; above it each variant gets the two sizes around the
            optimum that the smaller budgets predict; None: every budget is.
        forecast: budget whose difference is forecast, in FLOPs; None: none is.
        forecast_seeds: new seeds of each variant and size there, for which the forecast's interval holds.
        minutes: time that the new runs may take; `modbench plan` says how many seeds fit; None: any.
        first_seed: new seeds count from here; the sweep's own seeds are below.
    """

    table = "trend"

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
        """The new seeds at one of the budgets; a suite that claims nothing has few."""
        number = self.seeds if isinstance(self.seeds, int) else self.seeds[sorted(budgets).index(budget)]
        return range(self.first_seed, self.first_seed + (number if claims else SMOKE_SEEDS))


def fresh_seeds(suite: Suite, budget: float) -> range:
    """The new seeds that may be asked for at a budget of a suite that confirms."""
    trend = TrendPlan.of(suite)
    sweep = IsoflopPlan.of(suite)
    if trend is not None and sweep is not None:
        return trend.fresh(budget, sweep.train_flops, suite.claims)
    return ConfirmPlan.settled(suite).fresh(suite.claims)


class TrendTable(SuiteTable[TrendPlan]):
    """It needs a sweep."""

    confirms = True
    without = "is not a sweep"

    def check(self, suite: Suite, source: str) -> None:
        """Check that there is a sweep to follow, and that none of its seeds does both."""
        plan, sweep = TrendPlan.settled(suite), IsoflopPlan.of(suite)
        where = f"{source}: [trend]"
        if sweep is None:
            raise UsageError(f"{where} follows a difference over the budgets of a sweep: it needs an [isoflop] table.")
        if ConfirmPlan.of(suite) is not None:
            raise UsageError(f"{where} and [confirm] both train again what a sweep found: keep one of them.")
        check_fresh(suite, plan.first_seed, where)
        if not isinstance(plan.seeds, int) and len(plan.seeds) != len(sweep.train_flops):
            raise UsageError(
                f"{where}: {len(plan.seeds)} numbers of seeds for {len(sweep.train_flops)} budgets: give one for each or for all."
            )
        if not any(map(plan.explores, sweep.train_flops)):
            raise UsageError(
                f"{where}: explored = {plan.explored:g} is below every budget: sizes must be explored at one at least."
            )
        for budget in sweep.train_flops:
            least = 3 if plan.explores(budget) else 2
            if len(sweep.at(budget)) < least:
                raise UsageError(
                    f"{where}: {len(sweep.at(budget))} sizes at {budget:g} FLOPs: "
                    + ("a curve needs three." if least == 3 else "two are trained on new seeds.")
                )
        if plan.forecast is not None and plan.forecast <= max(sweep.train_flops):
            raise UsageError(
                f"{where}: forecast = {plan.forecast:g} must be above the budgets, the largest of which is "
                f"{max(sweep.train_flops):g}."
            )


TABLE = TrendTable(TrendPlan)
