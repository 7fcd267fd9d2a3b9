"""Data that the routing panels share: a run's artifacts by arm and seed, looks, intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case
from modbench.harness.results.workspace import artifact
from modbench.harness.stats import effects
from modbench.reports.figures.style import Look, look
from modbench.reports.tables.contenders import rung_beside
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import MATCHED

Z = 1.959964
MOST_CONTROLS = 3
CONTROLS = ("stochastic", "norm", "every_n")
TITLES = {
    "kind": "kind of token",
    "position": "position in the window",
    "frequency": "frequency in training text",
    "difficulty": "difficulty by n-grams",
    "loss": "the model's own loss",
    "entropy": "its output entropy",
}


@dataclass(frozen=True)
class Arm:
    """An arm and what its training runs recorded about its routing.

    Attributes:
        case: the case that was trained.
        found: seed to the artifact's parts: `routing`, and usually `flips` and `drift`.
    """

    case: Case
    found: dict[int, dict[str, Any]]

    @property
    def first(self) -> dict[str, Any]:
        """`routing` of the first seed."""
        return dict(self.found[min(self.found)]["routing"])

    @property
    def routes(self) -> bool:
        """Whether single tokens are routed, so that some skip a layer."""
        return bool(self.first["layers"])

    @property
    def name(self) -> str:
        """The arm's display name."""
        return name(self.case)

    @property
    def control(self) -> bool:
        """Whether its router does not learn."""
        return self.routes and self.case.config.router in CONTROLS and "router" in _read(self.case)

    @property
    def look(self) -> Look:
        """How the arm is drawn."""
        return look(self.case)

    def each(self, part: str) -> list[dict[str, Any]]:
        """Return a part of the artifact for every seed that has it."""
        return [found[part] for _, found in sorted(self.found.items()) if found.get(part)]

    @property
    def mean_loss(self) -> float:
        """Held-out loss in nats per token, mean over seeds."""
        return statistics.fmean(found["summary"]["loss"] for found in self.each("routing"))

    def over_seeds(
        self, value: Callable[[dict[str, Any]], float | None], part: str = "routing"
    ) -> effects.Effect | None:
        """Return the mean of a value over seeds, with a t-interval from three seeds on; None if some seed lacks the value."""
        values = [value(found) for found in self.each(part)]
        known = [each for each in values if each is not None]
        return effects.over_launches(known) if known and len(known) == len(values) else None


def _read(case: Case) -> Mapping[str, object]:
    return {} if case.own else catalogue.model_options(case.model)


def arms_of(loaded: Loaded) -> list[Arm]:
    """Return every arm with a routing artifact, in the report's order; of several number formats the first."""
    found: dict[str, Arm] = {}
    for unit in loaded.run.plan.units:
        case = unit.comparison.arms[0]
        if loaded.tables.passes[unit.made_in].samples != "seeds" or case.task:
            continue
        kept = artifact(loaded.path, unit.name)
        if kept and kept.get("routing"):
            found.setdefault(case.arm, Arm(case, {})).found.setdefault(unit.protocol.seed, kept)
    return [found[case.arm] for case in loaded.arms if case.arm in found]


def focus_of(arms: Sequence[Arm]) -> Arm | None:
    """Return the arm to show: MoD with a learned router and the lowest capacity, else the first arm with routed tokens.

    In a sweep it is the size with the lowest loss.
    """
    routed = [arm for arm in arms if arm.routes]
    learned = [arm for arm in routed if arm.case.config.router == "learned"]
    mod = [arm for arm in learned if arm.case.model == "mod"]
    if mod:
        return min(mod, key=lambda arm: (arm.case.config.capacity or 1.0, arm.mean_loss))
    return next(iter(learned or routed), None)


def best_sizes(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms; of each variant of a sweep only the size with the lowest loss."""
    best: dict[str, Arm] = {}
    for arm in arms:
        variant = arm.case.arm if arm.case.budget is None else arm.case.variant
        if variant not in best or arm.mean_loss < best[variant].mean_loss:
            best[variant] = arm
    return list(best.values())


def controls_of(arms: Sequence[Arm], focus: Arm) -> list[Arm]:
    """Return the same model with routers that do not learn; if there is none, other arms that route tokens.

    In a sweep they have the size of the focus. Of several that look alike in a figure it is the one with the lowest loss.
    """
    shape = focus.case.config.model_dump(exclude={"router"})
    others = [arm for arm in arms if arm.routes and arm is not focus]
    if focus.case.budget is not None:
        others = [arm for arm in others if arm.case.size == focus.case.size]
    same = [arm for arm in others if arm.case.model == focus.case.model]
    alike = [arm for arm in same if arm.case.config.model_dump(exclude={"router"}) == shape]
    alike.sort(key=lambda arm: [*CONTROLS, arm.case.config.router].index(arm.case.config.router))
    if alike:
        return alike[:MOST_CONTROLS]
    told_apart: dict[Look, Arm] = {focus.look: focus}
    for arm in sorted(others, key=lambda arm: arm.mean_loss):
        told_apart.setdefault(arm.look, arm)
    return [arm for arm in others if arm in told_apart.values()][:MOST_CONTROLS]


def dense_beside(loaded: Loaded, arms: Sequence[Arm], focus: Arm) -> tuple[Arm, str] | None:
    """Return the dense model of equal cost, else the dense anchor; and what is equal."""
    by_arm = {arm.case.arm: arm for arm in arms}
    beside = rung_beside(loaded, focus.case)
    if beside is not None and beside[0].arm in by_arm:
        return by_arm[beside[0].arm], f"equal {MATCHED[beside[1].quantity]}"
    whole = [arm for arm in arms if arm.case.model == "dense" and not arm.case.rung]
    if focus.case.budget is not None:  # in a sweep, the dense model of the same size
        whole = [arm for arm in whole if arm.case.size == focus.case.size]
    train = loaded.run.plan.suite.train
    equal = focus.case.budget is not None or (train is not None and train.flops is not None)
    said = "same shape and training FLOPs" if equal else "same shape, more FLOPs"
    return (whole[0], said) if whole else None


def share_interval(share: float, error: float | None, n: int, windows: int) -> tuple[float, float] | None:
    """Return Wilson's 95 % interval of a share of tokens that are clustered in windows.

    The number of tokens is replaced by the effective number, which gives the standard error between windows. At 0 or 1 that
    error is 0 and the number of windows is used. Otherwise an error of 0 means equal shares in all windows: no interval.

    Args:
        share: the share.
        error: its standard error between windows; None: unknown.
        n: tokens times layers.
        windows: number of windows.
    """
    if error is None or not n:
        return None
    if 0 < share < 1:
        if error == 0:
            return None
        size = share * (1 - share) / error**2
    else:
        size = windows
    middle = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * math.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Point:
    """The value of one bin.

    Attributes:
        label: the bin.
        value: mean over seeds.
        low: lower end of the 95 % interval; None: no interval.
        high: upper end.
        n: tokens in the bin.
        seeds: the value of every seed, if there are several.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    n: int
    seeds: tuple[float, ...] = ()


def bins_of(routing: dict[str, Any], variable: str) -> list[dict[str, Any]]:
    """Return the bins of a variable that hold tokens."""
    return [row for row in routing["strata"][variable]["bins"] if row["n"]]


def shares(arm: Arm, variable: str) -> list[Point]:
    """Return participation by bin: with three seeds or more the mean and t-interval, else the first seed's, by windows."""
    routings = arm.each("routing")
    tables = [{row["label"]: row for row in bins_of(each, variable)} for each in routings]
    points = []
    for label, row in tables[0].items():
        values = [table[label]["share"] for table in tables if label in table]
        if len(values) == len(tables) and len(values) >= 3:
            effect = effects.over_launches(values)
            ends = None if effect.low is None or effect.high is None else (max(0.0, effect.low), min(1.0, effect.high))
            value = effect.value
        else:
            value = row["share"]
            ends = share_interval(value, row["share_se"], row["n"] * len(routings[0]["layers"]), row["windows"])
        low, high = ends or (None, None)
        points.append(Point(label, value, low, high, row["n"], tuple(values) if len(tables) > 1 else ()))
    return points


def seeds_said(arm: Arm, alone: str) -> str:
    """Say what the intervals cover: all seeds, or `alone` for a single one."""
    n = len(arm.found)
    if n >= 3:
        return f"{n} seeds: mean and 95 % t-interval over seeds"
    return f"{'1 seed' if n == 1 else f'first of {n} seeds'}: {alone}"
