"""Which tokens a router passes, which of them profit, and whether its score goes with what a pass is worth.

From the artifacts of training runs, one per arm and seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from modbench.harness.core.grouped import grouped
from modbench.harness.domain.case import Case
from modbench.harness.results.workspace import artifact
from modbench.harness.stats import effects
from modbench.harness.stats.contrast import INCONCLUSIVE
from modbench.reports.figures.style import Look, look
from modbench.reports.model import Estimate, Kind, Sentence, Table, Value, pivot
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.tables.losses import unit_of
from modbench.reports.wording import MATCHED

Z = 1.959964
MOST_CONTROLS = 3
CONTROLS = ("stochastic", "norm", "every_n")
# Seeds from which on there is an interval over seeds.
FEWEST_SEEDS = 3
# Variables of the text, not of the routed model, so that its tokens can be compared with those of another.
TITLES = {
    "kind": "kind of token",
    "position": "position in the window",
    "frequency": "frequency in training text",
    "difficulty": "difficulty by n-grams",
}
ALL = "all tokens"
NUMBERS = (
    "worth: thousandths of a nat saved over the window · ~: rank correlation · overlap: Jaccard index · loss: {unit}"
)
WORK = "held-out text, first seed; easiest and hardest quarter of the longest prompts, by n-gram surprisal"


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
    def control(self) -> bool:
        """Whether its router does not learn."""
        return self.routes and self.case.config.router in CONTROLS and "router" in (self.case.facts.keys or ())

    @property
    def saw_the_future(self) -> bool:
        """Whether its only loss is that of top-k routing, which sees later tokens."""
        return self.first["summary"]["loss_causal"] is None

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

    def over_seeds(self, value: Callable[[dict[str, Any]], float | None], part: str = "routing") -> Estimate | None:
        """Return the mean of a value over seeds, with an interval from three on; None if some seed lacks the value."""
        values = [value(found) for found in self.each(part)]
        known = [each for each in values if each is not None]
        return over_seeds(known) if known and len(known) == len(values) else None

    def summary(self, key: str) -> Estimate | None:
        """Return the same of a value of the summary."""
        return self.over_seeds(lambda each: each["summary"][key])


def over_seeds(values: Sequence[float], kind: Kind = "quantity", unit: str = "") -> Estimate:
    """Return the mean of one value per seed, with a t-interval from three seeds on."""
    return Estimate.of_interval(effects.over_launches(values), kind, unit, n=len(values))


# --- which arms are shown


def arms_of(loaded: Loaded) -> list[Arm]:
    """Return every arm with a routing artifact, in the report's order; of several number formats the first."""
    found: dict[str, Arm] = {}
    for unit in loaded.plan.units:
        case = unit.comparison.arms[0]
        if unit.facts.samples != "seeds" or case.task:
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


def shown(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arm to show and its controls; empty if nothing is routed."""
    focus = focus_of(arms)
    return [] if focus is None else [focus, *controls_of(arms, focus)]


def best_sizes(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms; of each variant of a sweep only the size with the lowest loss."""
    by_variant = grouped((arm.case.arm if arm.case.budget is None else arm.case.variant, arm) for arm in arms)
    return [min(sizes, key=lambda arm: arm.mean_loss) for sizes in by_variant.values()]


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
    by_look: dict[Look, Arm] = {focus.look: focus}
    for arm in sorted(others, key=lambda arm: arm.mean_loss):
        by_look.setdefault(arm.look, arm)
    return [arm for arm in others if arm in by_look.values()][:MOST_CONTROLS]


def dense_beside(loaded: Loaded, arms: Sequence[Arm], focus: Arm) -> tuple[Arm, str] | None:
    """Return the dense model of equal cost, else the dense anchor; and what is equal."""
    by_arm = {arm.case.arm: arm for arm in arms}
    beside = rung_beside(loaded, focus.case)
    if beside is not None and beside.case.arm in by_arm:
        return by_arm[beside.case.arm], f"equal {MATCHED[beside.rung.quantity]}"
    whole = [arm for arm in arms if arm.case.model == "dense" and not arm.case.rung]
    if focus.case.budget is not None:  # in a sweep, the dense model of the same size
        whole = [arm for arm in whole if arm.case.size == focus.case.size]
    train = loaded.suite.train
    equal = focus.case.budget is not None or (train is not None and train.flops is not None)
    said = "same shape and training FLOPs" if equal else "same shape, more FLOPs"
    return (whole[0], said) if whole else None


# --- numbers by group of tokens


@dataclass(frozen=True)
class Bin:
    """The number of one group of tokens.

    Attributes:
        label: the group.
        estimate: mean over seeds, or the first seed's.
        n: its tokens.
        seeds: the value of every seed, if there are several.
    """

    label: str
    estimate: Estimate
    n: int
    seeds: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The number alone."""
        assert self.estimate.value is not None
        return self.estimate.value


# Arms, and their numbers by group of tokens.
Series: TypeAlias = Sequence[tuple[Arm, Sequence[Bin]]]


def _groups(arm: Arm, variable: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Groups of a variable that hold tokens, all tokens first: by label and seed what was recorded of them."""
    found = dict[str, dict[int, dict[str, Any]]]()
    for seed, artifact_ in sorted(arm.found.items()):
        routing = artifact_["routing"]
        whole = {"label": ALL, "n": routing["tokens"], **routing["summary"]}
        for row in (whole, *routing["strata"][variable]["bins"]):
            if row["n"]:
                found.setdefault(row["label"], {})[seed] = row
    return found


def share_interval(share: float, error: float | None, n: int, windows: int) -> Estimate:
    """Return a share of tokens, which are clustered in windows, with Wilson's 95 % interval.

    The number of tokens is replaced by the effective number, which gives the standard error between windows. At 0 or 1 that
    error is 0 and the number of windows is used. Otherwise an error of 0 means equal shares in all windows: no interval.

    Args:
        share: the share.
        error: its standard error between windows; None: unknown.
        n: tokens times layers.
        windows: number of windows.
    """
    made = Estimate(share, kind="share")
    if error is None or not n or (0 < share < 1 and error == 0):
        return made
    size = share * (1 - share) / error**2 if 0 < share < 1 else windows
    middle = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * math.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    return replace(made, low=max(0.0, middle - half), high=min(1.0, middle + half))


def shares(arm: Arm, variable: str) -> list[Bin]:
    """Return participation by group: with three seeds or more the mean and t-interval, else the first seed's, by windows."""
    found, several = list[Bin](), len(arm.found) > 1
    groups = _groups(arm, variable)
    del groups[ALL]
    for label, rows in groups.items():
        values, first = tuple(row["share"] for row in rows.values()), next(iter(rows.values()))
        if len(values) == len(arm.found) >= FEWEST_SEEDS:
            mean = over_seeds(values, "share")
            estimate = replace(mean, low=max(0.0, mean.low or 0.0), high=min(1.0, mean.high or 1.0))
        else:
            tokens = first["n"] * len(arm.first["layers"])
            estimate = share_interval(first["share"], first["share_se"], tokens, first["windows"])
        found.append(Bin(label, estimate, first["n"], values if several else ()))
    return found


# --- who profits


class Profit(NamedTuple):
    """Losses of routed arms minus those of a dense one.

    Attributes:
        dense: the dense arm.
        equal: what it has in common with the arm to show.
        unit: of the differences.
        groups: by variable the differences of the arm to show and its controls, all tokens first.
    """

    dense: Arm
    equal: str
    unit: str
    groups: dict[str, Series]


def profit(loaded: Loaded) -> Profit | None:
    """Return the losses of the arm to show and its controls against dense; None where there is nothing to compare."""
    arms = arms_of(loaded)
    focus = focus_of(arms)
    beside = None if focus is None else dense_beside(loaded, arms, focus)
    if focus is None or beside is None:
        return None
    compared = [focus, *(arm for arm in controls_of(arms, focus) if arm.case.model == focus.case.model)]
    unit, factor = unit_of(loaded)
    found = {name: [(arm, differences(arm, beside[0], name, factor)) for arm in compared] for name in TITLES}
    groups: dict[str, Series] = {variable: series for variable, series in found.items() if series[0][1]}
    return Profit(*beside, unit, groups) if groups else None


def differences(arm: Arm, dense: Arm, variable: str, factor: float) -> list[Bin]:
    """Return loss minus the dense model's by group, times a factor, paired by seed; groups of different text are left out."""
    key = "loss" if arm.saw_the_future else "loss_causal"
    mine, theirs = (_groups(each, variable) for each in (arm, dense))
    seeds, found = sorted(arm.found.keys() & dense.found.keys()), list[Bin]()
    for label, rows in mine.items():
        pairs = [(rows.get(seed), theirs.get(label, {}).get(seed)) for seed in seeds]
        same = [(one, other) for one, other in pairs if one and other and one["n"] == other["n"]]
        values = tuple(factor * (one[key] - other["loss"]) for one, other in same)
        if values and len(values) == len(seeds):
            mean = over_seeds(values, "difference")
            found.append(Bin(label, mean, same[0][0]["n"], values if len(values) > 1 else ()))
    return found if len(found) > 1 else []


# --- does the score go with what a pass is worth


def score(arm: Arm) -> Estimate | None:
    """Return the rank correlation of score and worth: from three seeds on the mean and t-interval, else the first seed's own."""
    flips = arm.each("flips")
    rows = [each["correlation"]["all"] for each in flips if each.get("correlation")]
    values = [row["rho"] for row in rows]
    if not rows or None in values:
        return None
    if len(rows) < FEWEST_SEEDS:
        return Estimate(values[0], rows[0]["low"], rows[0]["high"], "difference")
    return over_seeds(values, "difference") if len(rows) == len(flips) else None


def knows(arms: Sequence[Arm]) -> str | None:
    """Return `yes`, `no` or `inconclusive`: whether the score of the first arm goes with worth more than those of its controls.

    Controls count because their blocks, too, adapt to the tokens that they are given. None without an interval.
    """
    found = score(arms[0])
    if found is None or found.ends is None:
        return None
    controls = (score(other) for other in arms[1:] if other.control)
    least = max([0.0, *(each.value for each in controls if each is not None and each.value is not None)])
    low, high = found.ends
    return "yes" if low > least else "no" if high < least else INCONCLUSIVE


# Rows of the table: title, part of the summary, kind of number.
_QUANTITIES: tuple[tuple[str, str, Kind], ...] = (
    ("passing, by top-k", "participation", "share"),
    ("passing, by the causal rule", "participation_causal", "share"),
    ("what that costs in loss", "gap", "difference"),
    ("predicted correctly", "predictor_accuracy", "share"),
    ("… by the majority answer", "predictor_base_rate", "share"),
    ("… balanced accuracy", "predictor_balanced_accuracy", "share"),
    ("… precision", "predictor_precision", "share"),
    ("… recall", "predictor_recall", "share"),
    ("… F1", "predictor_f1", "share"),
    ("overlap of blocks", "overlap", "share"),
    ("… at random", "overlap_expected", "share"),
    ("blocks used ~ output entropy", "entropy_correlation", "difference"),
    ("blocks used ~ difficulty", "difficulty_correlation", "difference"),
)


def routers(loaded: Loaded, arms: Sequence[Arm], focus: Sequence[Arm]) -> Table:
    """Return a row per quantity with a column per arm, means over seeds; of the first of `focus` whether its score knows."""
    cells, (unit, factor) = list[tuple[Value, Value, Value, Value]](), unit_of(loaded)
    for arm in arms:
        cells += [
            ("score ~ worth", "", arm.case, score(arm)),
            ("… above 0 and all controls", "", arm.case, knows(focus) if arm is focus[0] else None),
            ("worth of a pass that was made", "", arm.case, _worth(arm, "passed")),
            ("… that was not made", "", arm.case, _worth(arm, "skipped")),
        ]
        for title, key, kind in _QUANTITIES:
            mean = arm.summary(key)
            known = None if mean is None else replace(mean.alone, kind=kind).scaled(factor if key == "gap" else 1.0)
            cells.append((title, "", arm.case, known))
        settled = arm.over_seeds(lambda drift: (drift.get("overlap_with_last") or [None])[0], "drift")
        cells.append(
            ("overlap, start ~ end of training", "", arm.case, settled and replace(settled.alone, kind="share"))
        )
    return replace(pivot("routers", cells), notes=[Sentence(NUMBERS, unit=unit)])


def _worth(arm: Arm, side: str) -> Value:
    """Return the effect on the loss of the whole window (mean times tokens), in thousandths of a nat."""
    tokens = arm.first["seq_len"]

    def value(flips: dict[str, Any]) -> float | None:
        worth = flips["worth"][side]["effect"] if flips.get("worth") else None
        return None if worth is None else 1000 * tokens * float(worth)

    mean = arm.over_seeds(value, "flips")
    return None if mean is None else Estimate(mean.value, kind="difference")


# --- how experts and gates share the work


def work(arms: Sequence[Arm]) -> Table | None:
    """Return a row for each arm with experts or a gate that chooses a depth; None where there is none."""
    rows = ((arm.case, "", title, value) for arm in best_sizes(arms) for title, value in _work(arm))
    made = replace(pivot("share of the work", rows), notes=[WORK])
    return made if made.rows else None


def _work(arm: Arm) -> Iterator[tuple[Value, Value]]:
    experts, depth = arm.first["experts"], arm.first["depth"]
    if experts:
        yield "busiest expert ÷ even share", Estimate(arm.first["summary"]["expert_load_max"], kind="ratio")
        yield "tokens without an expert", Estimate(statistics.fmean(row["none"] for row in experts), kind="share")
    if depth:
        easiest, *_, hardest = depth["by_length"][-1]["by_difficulty"]
        yield "blocks run", Estimate(depth["depth"])
        yield "… easiest prompts", Estimate(easiest["depth"])
        yield "… hardest prompts", Estimate(hardest["depth"])
