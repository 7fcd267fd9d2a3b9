"""`[isoflop]` of a suite: every variant is trained with several budgets of training FLOPs, each in several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from modbench.extend import Case


def budget_of(case: Case) -> float | None:
    """Training FLOPs that a case may spend, in a sweep; None in none."""
    return cast("float | None", case.condition("train_flops"))


def spent(case: Case) -> float:
    """Training FLOPs that a case of a sweep spends."""
    budget = budget_of(case)
    assert budget is not None, f"{case.id} belongs to no sweep"
    return budget
