"""What the panels about routing share: the artifacts of a run by arm and seed, looks, intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats as distributions

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case
from modbench.harness.results.workspace import artifact
from modbench.harness.stats import effects
from modbench.reports.load import Loaded
from modbench.reports.panel import MATCHED, rung_beside
from modbench.reports.style import OTHER, Look, look, name

Z = 1.959964
MOST_CONTROLS = 3
# Controls share one colour and differ in shape, as whole-input gates do; a learned router looks like its model.
_CONTROLS = {"stochastic": ("o", "●"), "norm": ("D", "◆"), "every_n": ("^", "▲")}
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
    """An arm and what its training runs found out about its routing.

    Attributes:
        case: as it was trained.
        found: seed to the artifact's parts: `routing`, and mostly `flips` and `drift`.
    """

    case: Case
    found: dict[int, dict[str, Any]]

    @property
    def first(self) -> dict[str, Any]:
        """`routing` of the first seed."""
        return dict(self.found[min(self.found)]["routing"])

    @property
    def routes(self) -> bool:
        """Whether tokens pass layers or not."""
        return bool(self.first["layers"])

    @property
    def name(self) -> str:
        """The arm as people say it."""
        return name(self.case)

    @property
    def control(self) -> bool:
        """Whether its router learns nothing."""
        return self.routes and self.case.config.router in _CONTROLS and "router" in _read(self.case)

    @property
    def look(self) -> Look:
        """How it is drawn: a control in the controls' colour."""
        if self.control:
            marker, glyph = _CONTROLS[self.case.config.router]
            return Look(f"#0205{OTHER[0]:02d}", marker, glyph)
        return look(self.case)

    def each(self, part: str) -> list[dict[str, Any]]:
        """A part of the artifact, of every seed that has it."""
        return [found[part] for _, found in sorted(self.found.items()) if found.get(part)]

    @property
    def mean_loss(self) -> float:
        """Held-out nats per token, mean over seeds."""
        return statistics.fmean(found["summary"]["loss"] for found in self.each("routing"))

    def over_seeds(
        self, value: Callable[[dict[str, Any]], float | None], part: str = "routing"
    ) -> effects.Effect | None:
        """A number's mean over seeds; from three seeds on with a t-interval. None where a seed has none."""
        values = [value(found) for found in self.each(part)]
        known = [each for each in values if each is not None]
        return effects.over_launches(known) if known and len(known) == len(values) else None


def _read(case: Case) -> dict[str, object]:
    return {} if case.own else catalogue.model_options(case.model)


def arms_of(loaded: Loaded) -> list[Arm]:
    """Every arm with an artifact that tells of routing, in the report's order; of several number formats the first."""
    found: dict[str, Arm] = {}
    for unit in loaded.run.plan.units:
        case = unit.comparison.arms[0]
        if unit.made_in != "train" or case.task:
            continue
        kept = artifact(loaded.path, unit.name)
        if kept and kept.get("routing"):
            found.setdefault(case.arm, Arm(case, {})).found.setdefault(unit.protocol.seed, kept)
    return [found[case.arm] for case in loaded.arms if case.arm in found]


def focus_of(arms: Sequence[Arm]) -> Arm | None:
    """The arm that the panels are about: MoD with a learned router and the lowest capacity, else any whose tokens are routed.

    Of a sweep's sizes it is the one with the lowest loss.
    """
    routed = [arm for arm in arms if arm.routes]
    learned = [arm for arm in routed if arm.case.config.router == "learned"]
    mod = [arm for arm in learned if arm.case.model == "mod"]
    if mod:
        return min(mod, key=lambda arm: (arm.case.config.capacity or 1.0, arm.mean_loss))
    return next(iter(learned or routed), None)


def controls_of(arms: Sequence[Arm], focus: Arm) -> list[Arm]:
    """The same model with routers that learn nothing; where there is none, other models that route tokens."""
    shape = focus.case.config.model_dump(exclude={"router"})
    others = [arm for arm in arms if arm.routes and arm is not focus]
    same = [arm for arm in others if arm.case.model == focus.case.model]
    alike = [arm for arm in same if arm.case.config.model_dump(exclude={"router"}) == shape]
    order = list(_CONTROLS)
    alike.sort(key=lambda arm: order.index(arm.case.config.router) if arm.case.config.router in order else len(order))
    return (alike or others)[:MOST_CONTROLS]


def dense_beside(loaded: Loaded, arms: Sequence[Arm], focus: Arm) -> tuple[Arm, str] | None:
    """The dense model that costs the same, else the dense anchor; and what is equal."""
    by_arm = {arm.case.arm: arm for arm in arms}
    beside = rung_beside(loaded, focus.case)
    if beside is not None and beside[0].arm in by_arm:
        return by_arm[beside[0].arm], f"equal {MATCHED[beside[1].quantity]}"
    whole = [arm for arm in arms if arm.case.model == "dense" and not arm.case.rung]
    if focus.case.budget is not None:  # of a sweep, that of its own size
        whole = [arm for arm in whole if arm.case.size == focus.case.size]
    train = loaded.run.plan.suite.train
    equal = focus.case.budget is not None or (train is not None and train.flops is not None)
    said = "same shape and training FLOPs" if equal else "same shape, more FLOPs"
    return (whole[0], said) if whole else None


def share_interval(share: float, error: float | None, n: int, windows: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval of a share whose tokens are clustered in windows.

    The number of tokens is replaced by the one that would give the standard error found between windows. At 0 or 1 that error
    is 0 and windows are counted instead. Between them an error of 0 means equal in every window: then there is no interval.

    Args:
        share: of n.
        error: its standard error between windows; None: unknown.
        n: tokens times layers.
        windows: that hold them.
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
    """A number of a bin.

    Attributes:
        label: of the bin.
        value: mean over seeds.
        low: lower end of its 95 % interval; None: there is none.
        high: upper end.
        n: tokens in the bin.
        seeds: the value of every seed, where there are several.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    n: int
    seeds: tuple[float, ...] = ()


def bins_of(routing: dict[str, Any], variable: str) -> list[dict[str, Any]]:
    """The bins of a stratum that hold tokens."""
    return [row for row in routing["strata"][variable]["bins"] if row["n"]]


def shares(arm: Arm, variable: str) -> list[Point]:
    """Participation by bin. Three seeds or more: their t-interval; else the first seed's, windows being the unit."""
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


def t_quantile(n: int) -> float:
    """Of a 95 % interval of a mean of n."""
    return float(distributions.t.ppf(0.975, n - 1))


def seeds_said(arm: Arm, alone: str) -> str:
    """How far the intervals reach: over seeds, or what is said of a single one."""
    n = len(arm.found)
    if n >= 3:
        return f"{n} seeds: mean and 95 % t-interval over seeds"
    return f"{'1 seed' if n == 1 else f'first of {n} seeds'}: {alone}"
