"""Chooses the cases of a sweep to confirm, at the best size of each variant by one fit over all runs, and their fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case, UnitOfWork
from modbench.harness.core.confirm_plan import Role
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.stats.group_sequential import schedule
from modbench.harness.stats.joint_fit import JointFit, Run
from modbench.harness.stats.seeds_needed import Spread, planned, seeds_needed

if TYPE_CHECKING:
    from modbench.harness.rules.confirmation import Confirmation


@dataclass(frozen=True)
class Choice:
    """The cases to confirm, and their seeds.

    Attributes:
        cases: the case that fills each role.
        margin: difference that shall be told from none, in nats per token.
        wanted: seeds of each arm that the spread asks for; None: more than 2,000.
        lacking: variants of which no run left a loss.
        numbers: seeds of each arm at each look; at the last those, or the most that the suite allows.
    """

    cases: dict[Role, Case]
    margin: float
    wanted: int | None
    lacking: tuple[str, ...]
    numbers: tuple[int, ...]


def choose(made: Confirmation, losses: Mapping[str, float | None]) -> Choice | str:
    """Choose, or return the reason why nothing can be chosen.

    Args:
        made: what is confirmed.
        losses: loss of each exploring run by its unit's name; None where it left none.
    """
    left = [(unit, loss) for unit in made.explored if (loss := losses[unit.name]) is not None]
    trained = {unit.comparison.arms[0].id for unit, _ in left}
    if not any(case.variant == made.anchor for case in made.cases.values() if case.id in trained):
        return f"no run of {made.anchor} left a loss"
    fitted = fit_of(left)
    if fitted.over_seeds is None:
        return "the sweep left too few runs to tell how far seeds differ"
    by_variant: dict[str, list[tuple[float, Case]]] = {}
    for case in made.cases.values():
        if case.id in trained:
            loss = fitted.predicted(case.variant)[place_of(case)].value
            by_variant.setdefault(case.variant, []).append((loss, case))
    best = {variant: min(each, key=lambda one: one[0]) for variant, each in by_variant.items()}
    rivals = sorted(
        (each for each in best.values() if made.may_be_best(each[1])),
        key=lambda one: one[0],
    )
    found: dict[Role, tuple[float, Case]] = {"anchor": best[made.anchor]}
    found |= dict(zip(("best", "runner_up"), rivals, strict=False))
    if "best" not in found:
        return "no variant but the anchor left a loss"
    controls = [each for each in best.values() if made.may_be_control(each[1], found["best"][1])]
    if controls:
        found["control"] = min(controls, key=lambda one: one[0])
    lacking = [role for role in made.plan.roles if role not in found]
    if lacking:
        return f"nothing that left a loss can be the {lacking[0].replace('_', ' ')}"
    found = {role: found[role] for role in made.plan.roles}
    margin = made.plan.margin * found.get("anchor", best[made.anchor])[0]
    wanted, numbers = _seeds(made, fitted.over_seeds, margin)
    return Choice(
        {role: case for role, (_, case) in found.items()},
        margin,
        wanted,
        tuple(dict.fromkeys(each.variant for each in made.cases.values() if each.variant not in by_variant)),
        numbers,
    )


def fit_of(runs: Iterable[tuple[UnitOfWork, float]]) -> JointFit:
    """Fit the losses of exploring runs of one budget, each with its unit."""
    return JointFit(
        [
            Run(case.variant, place_of(case), unit.protocol.seed, loss)
            for unit, loss in runs
            for case in unit.comparison.arms
        ]
    )


def _seeds(made: Confirmation, spread: Spread, margin: float) -> tuple[int | None, tuple[int, ...]]:
    """Seeds of each arm that the spread asks for, and those of each look."""
    plan = made.plan
    if not made.claims:
        return made.most_seeds, (made.most_seeds,)
    if plan.seeds is not None:
        return plan.seeds, schedule(plan.seeds, plan.looks)
    found = planned(spread, None, margin, most=plan.most_seeds, power=plan.power, looks=plan.looks)
    raised = spread.sd * found.inflation
    return seeds_needed(raised, raised, margin, plan.power, plan.looks), found.numbers


def place_of(case: Case) -> float:
    """Where a size stands on the curve: the logarithm of its parameters."""
    cost = case_cost(case)
    assert cost is not None, "a budget of FLOPs has a closed form"
    return math.log(cost.params)
