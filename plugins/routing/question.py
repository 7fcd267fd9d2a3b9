"""Which tokens a router passes, which of them profit, and whether its score goes with what a pass is worth.

From the artifacts of training runs, one per variant and seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from modbench.extend import (
    INCONCLUSIVE,
    MATCHED,
    Case,
    Estimate,
    Kind,
    Loaded,
    Look,
    Sentence,
    Table,
    Value,
    artifact,
    effects,
    grouped,
    look,
    matched_beside,
    pivot,
    unit_of,
)

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
class Variant:
    """A variant and what its training runs recorded about its routing.

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
        """How the variant is drawn."""
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


def over_seeds(values: Sequence[float], kind: Kind = "quantity") -> Estimate:
    """Return the mean of one value per seed, with a t-interval from three seeds on."""
    return Estimate.of_interval(effects.over_processes(values), kind, n=len(values))


# --- which variants are shown


def variants_of(loaded: Loaded) -> list[Variant]:
    """Return every variant with a routing artifact, in the report's order; of several number formats the first."""
    found: dict[str, Variant] = {}
    for job in loaded.plan.jobs:
        case = job.comparison.variants[0]
        if not job.of_corpus:
            continue
        kept = artifact(loaded.path, job.name)
        if kept and kept.get("routing"):
            found.setdefault(case.variant, Variant(case, {})).found.setdefault(job.protocol.seed, kept)
    return [found[case.variant] for case in loaded.variants if case.variant in found]


def shown(variants: Sequence[Variant]) -> list[Variant]:
    """Return the variant to show and its controls; empty if nothing is routed.

    It is MoD with a learned router and the lowest capacity, else the first variant with routed tokens. In a sweep it is the
    size with the lowest loss.
    """
    routed = [variant for variant in variants if variant.routes]
    learned = [variant for variant in routed if variant.case.config.router == "learned"]
    mod = [variant for variant in learned if variant.case.model == "mod"]
    mod.sort(key=lambda variant: (variant.case.config.capacity or 1.0, variant.mean_loss))
    focus = next(iter(mod or learned or routed), None)
    return [] if focus is None else [focus, *controls_of(variants, focus)]


def best_sizes(variants: Sequence[Variant]) -> list[Variant]:
    """Return the variants; of each variant of a sweep only the size with the lowest loss."""
    by_variant = grouped((variant.case.family, variant) for variant in variants)
    return [min(sizes, key=lambda variant: variant.mean_loss) for sizes in by_variant.values()]


def _of_its_size(variants: Sequence[Variant], focus: Variant) -> Sequence[Variant]:
    """In a sweep the variants of one size, otherwise all."""
    return [variant for variant in variants if variant.case.size == focus.case.size]


def controls_of(variants: Sequence[Variant], focus: Variant) -> list[Variant]:
    """Return the same model with routers that do not learn; if there is none, other variants that route tokens.

    In a sweep they have the size of the focus. Of several that look alike in a figure it is the one with the lowest loss.
    """
    shape = focus.case.config.model_dump(exclude={"router"})
    others = [variant for variant in _of_its_size(variants, focus) if variant.routes and variant is not focus]
    same = [variant for variant in others if variant.case.model == focus.case.model]
    alike = [variant for variant in same if variant.case.config.model_dump(exclude={"router"}) == shape]
    alike.sort(key=lambda variant: [*CONTROLS, variant.case.config.router].index(variant.case.config.router))
    if alike:
        return alike[:MOST_CONTROLS]
    by_look: dict[Look, Variant] = {focus.look: focus}
    for variant in sorted(others, key=lambda variant: variant.mean_loss):
        by_look.setdefault(variant.look, variant)
    return [variant for variant in others if variant in by_look.values()][:MOST_CONTROLS]


def dense_beside(loaded: Loaded, variants: Sequence[Variant], focus: Variant) -> tuple[Variant, str] | None:
    """Return the matched baseline, else the dense baseline; and what is equal."""
    by_variant = {variant.case.variant: variant for variant in variants}
    beside = matched_beside(loaded, focus.case)
    if beside is not None and beside.case.variant in by_variant:
        return by_variant[beside.case.variant], f"equal {MATCHED[beside.matched.quantity]}"
    same = (variant for variant in _of_its_size(variants, focus) if not variant.case.matched)
    whole = [variant for variant in same if variant.case.model == "dense"]
    train = loaded.suite.train
    equal = focus.case.condition("train_flops") is not None or (train is not None and train.flops is not None)
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


# Variants, and their numbers by group of tokens.
Series: TypeAlias = Sequence[tuple[Variant, Sequence[Bin]]]


def _groups(variant: Variant, variable: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Groups of a variable that hold tokens, all tokens first: by label and seed what was recorded of them."""
    found = dict[str, dict[int, dict[str, Any]]]()
    for seed, artifact_ in sorted(variant.found.items()):
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


def shares(variant: Variant, variable: str) -> list[Bin]:
    """Return participation by group: with three seeds or more the mean and t-interval, else the first seed's, by windows."""
    found, several = list[Bin](), len(variant.found) > 1
    groups = _groups(variant, variable)
    del groups[ALL]
    for label, rows in groups.items():
        values, first = tuple(row["share"] for row in rows.values()), next(iter(rows.values()))
        if len(values) == len(variant.found) >= FEWEST_SEEDS:
            mean = over_seeds(values, "share")
            estimate = replace(mean, low=max(0.0, mean.low or 0.0), high=min(1.0, mean.high or 1.0))
        else:
            tokens = first["n"] * len(variant.first["layers"])
            estimate = share_interval(first["share"], first["share_se"], tokens, first["windows"])
        found.append(Bin(label, estimate, first["n"], values if several else ()))
    return found


# --- who profits


class Profit(NamedTuple):
    """Losses of routed variants minus those of a dense one.

    Attributes:
        dense: the dense variant.
        equal: what it has in common with the variant to show.
        unit: of the differences.
        groups: by variable the differences of the variant to show and its controls, all tokens first.
    """

    dense: Variant
    equal: str
    unit: str
    groups: dict[str, Series]


def profit(loaded: Loaded) -> Profit | None:
    """Return the losses of the variant to show and its controls against dense; None where there is nothing to compare."""
    variants = variants_of(loaded)
    chosen = shown(variants)
    beside = dense_beside(loaded, variants, chosen[0]) if chosen else None
    if beside is None:
        return None
    compared = [variant for variant in chosen if variant.case.model == chosen[0].case.model]
    unit, factor = unit_of(loaded)
    found = {
        name: [(variant, differences(variant, beside[0], name, factor)) for variant in compared] for name in TITLES
    }
    groups: dict[str, Series] = {variable: series for variable, series in found.items() if series[0][1]}
    return Profit(*beside, unit, groups) if groups else None


def differences(variant: Variant, dense: Variant, variable: str, factor: float) -> list[Bin]:
    """Return loss minus the dense model's by group, times a factor, paired by seed; groups of different text are left out."""
    key = "loss" if variant.saw_the_future else "loss_causal"
    mine, theirs = (_groups(each, variable) for each in (variant, dense))
    seeds, found = sorted(variant.found.keys() & dense.found.keys()), list[Bin]()
    for label, rows in mine.items():
        pairs = [(rows.get(seed), theirs.get(label, {}).get(seed)) for seed in seeds]
        same = [(one, other) for one, other in pairs if one and other and one["n"] == other["n"]]
        values = tuple(factor * (one[key] - other["loss"]) for one, other in same)
        if values and len(values) == len(seeds):
            mean = over_seeds(values, "difference")
            found.append(Bin(label, mean, same[0][0]["n"], values if len(values) > 1 else ()))
    return found if len(found) > 1 else []


# --- does the score go with what a pass is worth


def score(variant: Variant) -> Estimate | None:
    """Return the rank correlation of score and worth: from three seeds on the mean and t-interval, else the first seed's own."""
    flips = variant.each("flips")
    rows = [each["correlation"]["all"] for each in flips if each.get("correlation")]
    values = [row["rho"] for row in rows]
    if not rows or None in values:
        return None
    if len(rows) < FEWEST_SEEDS:
        return Estimate(values[0], rows[0]["low"], rows[0]["high"], "difference")
    return over_seeds(values, "difference") if len(rows) == len(flips) else None


def knows(variants: Sequence[Variant]) -> str | None:
    """Return `yes`, `no` or `inconclusive`.

    Whether the score of the first variant goes with worth more than those of its controls.

    Controls count because their blocks, too, adapt to the tokens that they are given. None without an interval.
    """
    found = score(variants[0])
    if found is None or found.ends is None:
        return None
    controls = (score(other) for other in variants[1:] if other.control)
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


def routers(loaded: Loaded, variants: Sequence[Variant], focus: Sequence[Variant]) -> Table:
    """Return a row per quantity with a column per variant, means over seeds; of the first of `focus` whether its score knows."""
    cells, (unit, factor) = list[tuple[Value, Value, Value, Value]](), unit_of(loaded)
    for variant in variants:
        found: dict[str, Value] = {
            "score ~ worth": score(variant),
            "… above 0 and all controls": knows(focus) if variant is focus[0] else None,
            "worth of a pass that was made": _worth(variant, "passed"),
            "… that was not made": _worth(variant, "skipped"),
        }
        for title, key, kind in _QUANTITIES:
            mean = variant.summary(key)
            found[title] = mean and replace(mean.alone, kind=kind).scaled(factor if key == "gap" else 1.0)
        settled = variant.over_seeds(lambda drift: (drift.get("overlap_with_last") or [None])[0], "drift")
        found["overlap, start ~ end of training"] = settled and replace(settled.alone, kind="share")
        cells += [(title, "", variant.case, value) for title, value in found.items()]
    return replace(pivot("routers", cells), notes=[Sentence(NUMBERS, unit=unit)])


def _worth(variant: Variant, side: str) -> Value:
    """Return the effect on the loss of the whole window (mean times tokens), in thousandths of a nat."""
    tokens = variant.first["seq_len"]

    mean = variant.over_seeds(lambda flips: flips["worth"][side]["effect"] if flips.get("worth") else None, "flips")
    return mean and replace(mean.alone, kind="difference").scaled(1000 * tokens)


# --- how experts and gates share the work


def work(variants: Sequence[Variant]) -> Table | None:
    """Return a row for each variant with experts or a gate that chooses a depth; None where there is none."""
    rows = ((variant.case, "", title, value) for variant in best_sizes(variants) for title, value in _work(variant))
    made = replace(pivot("share of the work", rows), notes=[WORK])
    return made if made.rows else None


def _work(variant: Variant) -> Iterator[tuple[Value, Value]]:
    experts, depth = variant.first["experts"], variant.first["depth"]
    if experts:
        yield "busiest expert ÷ even share", Estimate(variant.first["summary"]["expert_load_max"], kind="ratio")
        yield "tokens without an expert", Estimate(statistics.fmean(row["none"] for row in experts), kind="share")
    if depth:
        easiest, *_, hardest = depth["by_length"][-1]["by_difficulty"]
        yield "blocks run", Estimate(depth["depth"])
        yield "… easiest prompts", Estimate(easiest["depth"])
        yield "… hardest prompts", Estimate(hardest["depth"])
