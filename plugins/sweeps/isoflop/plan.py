"""The values of `[isoflop]`: budgets of training FLOPs, and the sizes that each is spent on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field, field_validator, model_validator

from modbench.extend import MOST_FLOPS, Condition, Frozen, TablePlan, slug

if TYPE_CHECKING:
    from modbench.extend import Case

# The passes that try learning rates, and that train again what was explored.
RATES_PASS, CONFIRM_PASS = "rates", "confirm"


class ExpectedOptimum(Frozen):
    """Where the baseline's best size is expected: a width at one budget, which grows with the fourth root of the budget.

    At one depth parameters then grow with its square root (Hoffmann et al. 2022).

    Attributes:
        flops: a budget.
        d_model: the width that is expected to be best there.
        sizes: how many sizes are trained at a budget: those nearest to the expected width, in the logarithm.
    """

    flops: Annotated[float, Field(gt=0, le=MOST_FLOPS)]
    d_model: Annotated[int, Field(ge=1)]
    sizes: Annotated[int, Field(ge=2, le=100)] = 4

    def width(self, budget: float) -> float:
        """The width that is expected to be best at a budget."""
        return self.d_model * float((budget / self.flops) ** 0.25)


class IsoflopPlan(TablePlan):
    """Budgets of training FLOPs, each spent on models of several sizes.

    Attributes:
        train_flops: training FLOPs of a run.
        baseline_train_flops: further budgets, with which only the baseline is trained: they show what its loss costs in
            compute, so that a difference of losses has a price.
        sizes: shapes, such as `{ d_model = 64, n_layers = 4 }`, smallest first.
        expected: where the best size is expected, such as `{ flops = 4e12, d_model = 48, sizes = 4 }`: each budget is then
            spent only on the sizes near it; None: on all.
        rates: multiples of the width rule that are tried for every variant, at the middle size and the smallest budget. If
            the best is at the edge, more are tried beyond it.
        max_epochs: most passes that a run may make over the corpus.
        count: which attention FLOPs a budget is charged with: those of the `full` square, which a counter sees, or of the
            `causal` half, which a fused kernel computes.
    """

    table = "isoflop"

    train_flops: tuple[Annotated[float, Field(gt=0, le=MOST_FLOPS)], ...] = Field(min_length=1, max_length=100)
    baseline_train_flops: tuple[Annotated[float, Field(gt=0, le=MOST_FLOPS)], ...] = Field((), max_length=100)
    sizes: tuple[dict[str, int], ...] = Field(min_length=1, max_length=100)
    expected: ExpectedOptimum | None = None
    rates: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field((0.5, 1.0, 2.0), max_length=100)
    max_epochs: Annotated[float, Field(gt=0, le=1e9)] = 4.0
    count: Literal["full", "causal"] = "full"

    @model_validator(mode="after")
    def _differ(self) -> IsoflopPlan:
        budgets = [*self.train_flops, *self.baseline_train_flops]
        if len({f"{budget:.3g}" for budget in budgets}) < len(budgets):
            raise ValueError(f"two of the budgets {budgets} have the same first three digits, which name them")
        return self

    @field_validator("sizes")
    @classmethod
    def _are_shapes(cls, sizes: tuple[dict[str, int], ...]) -> tuple[dict[str, int], ...]:
        for size in sizes:
            if not size:
                raise ValueError("a size is empty; write it like { d_model = 64, n_layers = 4 }")
            for key in size:
                if key not in {"d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff"}:
                    raise ValueError(
                        f"a size is made of d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff; not {key!r}"
                    )
        if len({tuple(sorted(size.items())) for size in sizes}) < len(sizes):
            raise ValueError("the same size is given twice")
        return sizes

    @field_validator("rates")
    @classmethod
    def _around_the_rule(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) < 3:
            raise ValueError(f"rates {list(rates)} are fewer than three: the best needs one on each side")
        return tuple(sorted(set(rates)))

    @model_validator(mode="after")
    def _has_widths(self) -> IsoflopPlan:
        if self.expected is not None and not all("d_model" in size for size in self.sizes):
            raise ValueError("expected names a width: every size needs its d_model")
        return self

    def at(self, budget: float) -> list[int]:
        """Indices of the sizes that a budget is spent on."""
        every = range(len(self.sizes))
        if self.expected is None:
            return [*every]
        width = self.expected.width(budget)
        near = sorted(every, key=lambda i: abs(math.log(self.sizes[i]["d_model"] / width)))
        return sorted(near[: self.expected.sizes])

    @property
    def middle(self) -> int:
        """Index of the size at which rates are tried: the middle one of the smallest budget's."""
        sizes = self.at(min(self.train_flops))
        return sizes[len(sizes) // 2]


def label_of(budget: float) -> str:
    """What a budget is called in ids, such as `F4e12`."""
    return f"F{budget:.3g}".replace("+", "")


def at_budget(budget: float) -> tuple[Condition, ...]:
    """The condition of training with a budget, in FLOPs."""
    return (Condition(key="train_flops", value=budget, label=label_of(budget), title="Training FLOPs", unit="FLOP"),)


def budget_of(case: Case) -> float | None:
    """Training FLOPs that a case may spend, in a sweep; None in none."""
    return cast("float | None", case.condition("train_flops"))


def spent(case: Case) -> float:
    """Training FLOPs that a case of a sweep spends."""
    budget = budget_of(case)
    assert budget is not None, f"{case.id} belongs to no sweep"
    return budget


def rates_job(case: Case) -> str:
    """Name of the job that finds the learning rate of a variant, for all its sizes and budgets."""
    return slug(f"rates-{case.family}-{case.grid_point.label}")
