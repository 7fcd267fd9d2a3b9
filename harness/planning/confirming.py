"""The confirmations of a sweep: what it explores at one budget, and the fresh runs that may be asked for after it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case, UnitOfWork
from modbench.harness.core.config import ROUTING_KEYS
from modbench.harness.core.confirm_plan import ConfirmPlan, Role
from modbench.harness.core.errors import UsageError
from modbench.harness.core.ids import slug
from modbench.harness.planning.select import compile_expression

if TYPE_CHECKING:
    from modbench.harness.planning.suite import Suite

NOISE = "stochastic"
# Seeds of a smoke run, which claims nothing.
SMOKE_SEEDS = 2


@dataclass(frozen=True)
class Confirmation:
    """What is explored at one budget and place, and confirmed after it.

    Attributes:
        name: names its file.
        plan: how it is confirmed.
        claims: whether anything may be claimed; a smoke run trains two seeds and looks once.
        anchor: the anchor's variant.
        cases: every variant at every size, by id, in plan order.
        explored: the runs that choose.
        fresh: the runs that may be asked for, by case and seed.
    """

    name: str
    plan: ConfirmPlan
    claims: bool
    anchor: str
    cases: dict[str, Case] = field(default_factory=dict)
    explored: list[UnitOfWork] = field(default_factory=list)
    fresh: dict[str, dict[int, UnitOfWork]] = field(default_factory=dict)

    @property
    def most_seeds(self) -> int:
        """The most fresh seeds of a case."""
        return self.plan.most if self.claims else SMOKE_SEEDS

    @property
    def most_runs(self) -> int:
        """The most fresh runs of all cases together: those of the cases that are chosen."""
        return len(self.plan.roles) * self.most_seeds

    def may_be_best(self, case: Case) -> bool:
        """Whether a case may fill the role `best`."""
        if case.variant == self.anchor:
            return False
        return not is_noise(case) if self.plan.candidates is None else _matches(self.plan.candidates)(case.id)

    def may_be_control(self, case: Case, best: Case) -> bool:
        """Whether a case may fill the role `control` beside this best."""
        if case.variant in {self.anchor, best.variant}:
            return False
        if self.plan.controls is None:
            return is_noise(case) and _routing(case) == _routing(best)
        return _matches(self.plan.controls)(case.id)


@functools.cache
def _matches(expression: str) -> Callable[[str], bool]:
    return compile_expression(expression)


def confirms(unit: UnitOfWork) -> bool:
    """Whether a unit trains again what a sweep found best."""
    return unit.facts.confirms


def explores(unit: UnitOfWork) -> bool:
    """Whether a unit is a run of the sweep itself, with one of its seeds."""
    return unit.facts.trains and unit.facts.samples == "seeds" and not unit.facts.confirms


def is_noise(case: Case) -> bool:
    """Whether tokens are routed by noise."""
    return case.config.router == NOISE


def _routing(case: Case) -> tuple[object, ...]:
    """What a variant is, besides its router and its size."""
    config, apart = case.config.model_dump(), {"router", "expert_d_ff"}
    return case.model, *(config[key] for key in ROUTING_KEYS if key not in apart)


def seeds_of(suite: Suite) -> range:
    """The fresh seeds that may be asked for; none if the suite confirms nothing."""
    confirm = suite.confirm
    if confirm is None:
        return range(0)
    return range(confirm.first_seed, confirm.first_seed + (confirm.most if suite.claims else SMOKE_SEEDS))


def confirmation_of(unit: UnitOfWork) -> str:
    """Name of the confirmation that a unit explores for, or confirms; empty if it does neither."""
    (first, *_) = unit.comparison.arms
    if first.budget is None or not (confirms(unit) or explores(unit)):
        return ""
    return slug(f"best-{first.place.label}-F{first.budget:.3g}".replace("+", ""))


def confirmations_of(suite: Suite, units: Sequence[UnitOfWork]) -> dict[str, Confirmation]:
    """The confirmations of a suite, by name; none if it confirms nothing."""
    if suite.confirm is None:
        return {}
    found = dict[str, Confirmation]()
    alone = {f"{budget:.3g}" for budget in suite.isoflop.anchor_budgets} if suite.isoflop else set[str]()
    for unit in units:
        name = confirmation_of(unit)
        if not name or f"{unit.comparison.arms[0].budget:.3g}" in alone:
            continue
        (case,) = unit.comparison.arms
        made = found.setdefault(name, Confirmation(name, suite.confirm, suite.claims, case.variant))
        made.cases.setdefault(case.id, case)
        if explores(unit):
            made.explored.append(unit)
        else:
            made.fresh.setdefault(case.id, {})[unit.protocol.seed] = unit
    return found


def check_roles(suite: Suite, units: Sequence[UnitOfWork], select: str | None = None) -> None:
    """Check that every role of a confirmation can be filled.

    Args:
        suite: the suite.
        units: what it would run.
        select: the `-k` expression that chose them.

    Raises:
        UsageError: if one cannot.
    """
    for made in confirmations_of(suite, units).values():
        cases = made.cases.values()
        rivals = [case for case in cases if made.may_be_best(case)]
        alone = [case for case in rivals if not any(made.may_be_control(other, case) for other in cases)]
        wanted: dict[Role, str] = {}
        if not rivals:
            wanted["best"] = f"no arm matches candidates = {made.plan.candidates!r}"
            if made.plan.candidates is None:
                wanted["best"] = "add an arm besides the anchor that does not route by noise"
        if len({case.variant for case in rivals}) < 2:
            wanted["runner_up"] = "add a second such arm"
        if alone and made.plan.controls is not None:
            wanted["control"] = f"no arm matches controls = {made.plan.controls!r}"
        elif alone:
            wanted["control"] = f'{alone[0].arm} has none: add router = ["learned", "{NOISE}"] to its arm'
        for role in made.plan.roles:
            if role in wanted:
                if select:
                    raise UsageError(
                        f"{suite.name}: [confirm] has the role {role!r}, which none of the cases that -k {select!r} selects "
                        f"can fill ({wanted[role]}). Select more, or leave the role out."
                    )
                raise UsageError(
                    f"{suite.name}: [confirm] has the role {role!r}: {wanted[role]}, or leave the role out."
                )
