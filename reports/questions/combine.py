"""Do savings multiply? Skipping tokens and a cheaper mixer, each alone and both together, by time, FLOPs, memory and loss.

Four arms are the corners of a square: the baseline, one that skips tokens, one with another mixer, one with both. With ratios
to the baseline, the ratio of ratios is (both) ÷ (skips x mixes): 1 where savings multiply, below 1 where both together save less
than the product. Of times it is taken launch by launch, as every ratio. A loss has the difference of differences, seed by seed: 0
where both add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case, Comparison
from modbench.harness.stats import paired
from modbench.harness.stats.contrast import (
    BETTER,
    DIFFERENT,
    EQUIVALENT,
    INCONCLUSIVE,
    WORSE,
    ByClock,
    Rule,
    Side,
    contrast,
    counted,
)
from modbench.harness.stats.effects import LEVEL
from modbench.reports.model import Finding, Listed, PlaceAmong, Sentence, Table, Value
from modbench.reports.panel import InPlace
from modbench.reports.tables import comparisons, losses
from modbench.reports.tables.cases import no_interval
from modbench.reports.tables.cell import columns_of, joined_reasons
from modbench.reports.tables.comparisons import SMOKE, pair_row, ratio_columns
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.outcomes import CAUSAL_LOSS, Tables
from modbench.reports.wording import BYTES, WORKLOADS, name
from modbench.reports.writers.data import frame

# Fields of a configuration that say how tokens are mixed.
MIXER = ("mixer", "window", "kernel_size")
# Rows of a table, in order; the CSV has all metrics.
SHOWN: dict[str, str] = {
    "flops/forward": "FLOPs, forward",
    "flops/train_step": "FLOPs, train step",
    **WORKLOADS,
    **BYTES,
    "loss/val_causal": "loss, causal",
    "loss/val": "loss",
}
# What both together save, against the product of what each saves alone; of a loss against the sum.
OF_RATIOS = {
    BETTER: "▲ more",
    WORSE: "▼ less",
    EQUIVALENT: "≈ product",
    DIFFERENT: "≠ not the product",
    INCONCLUSIVE: "? undecided",
}
OF_LOSSES = OF_RATIOS | {BETTER: "▲ lower", WORSE: "▼ higher"}
COLUMNS = (
    *("metric", "unit", "arm", "skips_arm", "mixes_arm", "baseline_arm", "capacity", "mixer", "seq_len", "batch_size"),
    *("device", "dtype", "compile", "threads", "quantity"),
    *(f"{which}{end}" for which in ("skips", "mixes", "both") for end in ("", "_ci_low", "_ci_high")),
    *("expected", "value", "ci_low", "ci_high", "ci_level", "verdict", "n", "labels", "status", "reason"),
)


@dataclass(frozen=True)
class Square:
    """Four arms of one place.

    Attributes:
        base: the report's baseline.
        skips: with the baseline's mixer, and something else that differs.
        mixes: the baseline with another mixer.
        both: with both.
    """

    base: Case
    skips: Case
    mixes: Case
    both: Case

    @property
    def key(self) -> tuple[str, str]:
        """The same at every place."""
        return self.skips.arm, self.mixes.arm

    @property
    def skipping(self) -> str:
        """The first change in few words: `MoD 0.125`."""
        own = [part for part in self.skips.arm_parts if part not in self.base.arm_parts]
        return name(self.skips.model_copy(update={"arm_parts": tuple(own)}))

    @property
    def mixing(self) -> str:
        """The second: `window 64`."""
        config = self.both.config
        return config.mixer if config.reach is None else f"{config.mixer} {config.reach}"

    @property
    def title(self) -> str:
        """Both: `MoD 0.125 × window 64`."""
        return f"{self.skipping} × {self.mixing}"


@dataclass(frozen=True)
class Combined:
    """A square in one metric.

    Attributes:
        square: the four arms.
        skips: the first change alone, against the baseline.
        mixes: the second.
        both: both.
        together: what both save over the product of what each saves alone, or the loss of both over the sum.
        n: launches or seeds; None of what was counted.
    """

    square: Square
    skips: Finding
    mixes: Finding
    both: Finding
    together: Finding
    n: int | None

    @property
    def metric(self) -> str:
        """Key of the metric."""
        return self.together.metric

    def scaled(self, factor: float) -> Combined:
        """Return it with differences in another unit, which stands elsewhere."""
        sides = {which: getattr(self, which) for which in ("skips", "mixes", "both", "together")}
        found = {which: each for which, each in sides.items() if each.typical.kind == "difference"}
        return replace(
            self, **{key: replace(each, typical=each.typical.scaled(factor, "")) for key, each in found.items()}
        )

    @property
    def length(self) -> int:
        """Tokens of the sequence."""
        return self.square.both.place.seq_len

    @property
    def expected(self) -> float | None:
        """The product of both ratios, or the sum of both differences; None where one of them is not known."""
        alone = [each.typical.value for each in (self.skips, self.mixes)]
        if None in alone or self.together.typical.value is None:
            return None
        known = [each for each in alone if each is not None]
        return math.prod(known) if self.together.typical.kind == "ratio" else sum(known)


def combined(loaded: Loaded) -> list[Combined]:
    """Return every square in every metric: by square, metric and length; empty where no four arms are one."""
    tables, found = loaded.tables, list[tuple[Square, dict[str, Any]]]()
    for comparison in loaded.plan.comparisons:
        if comparison.arms[0].task or comparison.arms[0].budget is not None:
            continue
        here = list(squares(comparison, tables.baseline_of(comparison)))
        for key in comparison.metrics if here else ():
            metric = tables.metrics[key]
            if metric.source or metric.better == "neither":  # a rate is the inverse of its time
                continue
            found += [(square, _judged_row(tables, square, metric)) for square in here]
    comparisons.settle(tables, [row for _, row in found], loaded.twin_verdicts)
    made = [_of_square(loaded, square, row) for square, row in found]
    keys, metrics = (
        list(dict.fromkeys(order)) for order in ((each.square.key for each in made), (*SHOWN, *loaded.suite.metrics))
    )
    return sorted(made, key=lambda each: (keys.index(each.square.key), metrics.index(each.metric), each.length))


def squares(comparison: Comparison, base: Case) -> Iterator[Square]:
    """Yield the squares of a place around its baseline; of users' models, whose mixers are not known, none."""
    arms = [case for case in comparison.arms if not (case.rung or case.is_user_model or base.is_user_model)]
    if len({_mixer(case.config) for case in arms}) < 2:
        return
    by_place = {(_rest(case), _mixer(case.config)): case for case in arms}
    rest, mixer = _rest(base), _mixer(base.config)
    for (own, other), both in by_place.items():
        if own != rest and other != mixer:
            skips, mixes = by_place.get((own, mixer)), by_place.get((rest, other))
            if skips is not None and mixes is not None:
                yield Square(base, skips, mixes, both)


def _mixer(config: ModelConfig) -> tuple[str, int | None]:
    return config.mixer, config.reach


def _rest(case: Case) -> tuple[str, ModelConfig, Any]:
    """What an arm is besides its mixer."""
    same = {key: ModelConfig.model_fields[key].default for key in MIXER}
    return case.model, case.config.model_copy(update=same), case.options


def _judged_row(tables: Tables, square: Square, metric: Metric) -> dict[str, Any]:
    """Return a row like those of `comparisons.csv`, to be judged in a family with the other squares of its place."""
    row = pair_row(tables, square.both, square.mixes, metric, partial(_together, square))
    return comparisons.of_family(row, (tables.comparison(square.both, metric).label, metric.key), primary=True)


def _together(square: Square, tables: Tables, both: Case, mixes: Case, metric: Metric) -> dict[str, Any]:
    """Return what skipping does beside the other mixer, over what it does beside the baseline's."""
    pairs = ((both, mixes), (square.skips, square.base))
    beside, alone = (pair_row(tables, case, base, metric) for case, base in pairs)
    for row in (beside, alone):
        if row["status"] != "ok":
            return {"status": row["status"], "reason": row["reason"]}
    samples = tables.made_in(metric).samples
    if samples == "launches":
        return _of_times(tables, pairs, metric)
    if metric.scored_as == "ratio":
        if beside.get("ratio") is None or alone.get("ratio") is None:
            return {"status": "skipped", "reason": "one of the four is 0: there is no ratio"}
        value, suite = beside["ratio"] / alone["ratio"], tables.suite
        judged = suite.claims and tables.made_in(metric).judged
        reason = joined_reasons([no_interval(tables, both, metric), None if suite.claims else SMOKE])
        found = counted(alone["ratio"], beside["ratio"], Rule("count", suite.margin, "higher")) if judged else None
        return {"status": "ok", "reason": reason, "ratio": value, "contrast": found}
    return _of_seeds(tables, pairs, metric)


def _of_times(tables: Tables, pairs: Sequence[tuple[Case, Case]], metric: Metric) -> dict[str, Any]:
    beside, alone = (tables.numbers(metric, case, base) for case, base in pairs)
    found = paired.numbers_of_pairs(beside, alone).contrast(Rule("time", tables.suite.margin, estimand=metric.estimand))
    return {
        "status": "ok",
        "reason": joined_reasons([found.wall.effect.reason, None if tables.suite.claims else SMOKE]),
        **ratio_columns(found),
        "n": found.wall.effect.n,
        "contrast": found,
    }


def _of_seeds(tables: Tables, pairs: Sequence[tuple[Case, Case]], metric: Metric) -> dict[str, Any]:
    values = [[tables.cell(case.id, metric.key).values() for case in pair] for pair in pairs]
    (both, mixes), (skips, base) = values
    seeds = sorted(both.keys() & mixes.keys() & skips.keys() & base.keys())
    beside, alone = (ByClock({s: one[s] - other[s] for s in seeds}) for one, other in ((both, mixes), (skips, base)))
    found = contrast(Side(alone), Side(beside), "interleaved", Rule("loss", 0.0, metric.better))
    effect = found.effect
    return {
        "status": "ok",
        "reason": joined_reasons([effect.reason]),
        **columns_of(effect, "difference"),
        "n": effect.n,
        "contrast": found,
    }


def _of_square(loaded: Loaded, square: Square, row: Mapping[str, Any]) -> Combined:
    """Each change alone is compared as everywhere, with the report's baseline."""
    corners = {"skips": square.skips, "mixes": square.mixes, "both": square.both}
    rows = {which: loaded.pair_at(row["metric"], case.arm, case.place) for which, case in corners.items()}
    known = {which: of_row(found, corners[which], square.base) for which, found in rows.items() if found is not None}
    return Combined(square, **known, together=of_row(row, square.both, square.mixes), n=row.get("n"))


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `combine.csv`, a row for each square, metric and length, in base units.

    `value` is the ratio of ratios, or of a loss the difference of differences (`quantity`); `expected` the product or the sum.
    """
    numbers = {"capacity", "skips", "mixes", "both", "expected", "value", *(each for each in COLUMNS if "ci_" in each)}
    return frame(map(_row, combined(loaded)), COLUMNS, numbers=numbers, whole=("seq_len", "batch_size", "n"))


def _row(each: Combined) -> dict[str, Any]:
    square, place, found = each.square, each.square.both.place, each.together
    labels = dict.fromkeys(
        label for one in (each.skips, each.both, found) for label in (*one.labels, *one.against_labels)
    )
    return {
        **columns_of(each.skips.typical, "skips", "skips_"),
        **columns_of(each.mixes.typical, "mixes", "mixes_"),
        **columns_of(each.both.typical, "both", "both_"),
        "metric": each.metric,
        "unit": "" if found.typical.kind == "ratio" else found.typical.unit,
        "arm": square.both.arm,
        "skips_arm": square.skips.arm,
        "mixes_arm": square.mixes.arm,
        "baseline_arm": square.base.arm,
        "capacity": square.both.config.capacity,
        "mixer": square.both.config.mixer,
        **place.model_dump(include={"seq_len", "batch_size", "device", "dtype", "compile", "threads"}),
        "quantity": "ratio of ratios" if found.typical.kind == "ratio" else "difference of differences",
        "expected": each.expected,
        **columns_of(found.typical),
        "ci_level": LEVEL if found.typical.closed else None,
        "verdict": found.verdict,
        "n": each.n,
        "labels": ";".join(labels) or None,
        "status": found.status,
        "reason": found.reason,
    }


# --- in sentences and tables


def in_words(each: Combined) -> Value:
    """Return what both save over the product, or their loss over the sum, with its interval and verdict."""
    found = each.together
    if found.typical.value is None:
        return found.status
    words = OF_RATIOS if found.typical.kind == "ratio" else OF_LOSSES
    said = "{value} {verdict}" + f" {Label.BY_CPU}" * found.by_cpu
    return Sentence(said, value=found.typical, verdict=words.get(found.verdict or "", "no claim"))


def tables(loaded: Loaded) -> list[Table]:
    """Return a table for each combination: what each change saves alone, what both save, and that over the product."""
    return [_table(loaded, group) for group in _shown(loaded).values()]


def _shown(loaded: Loaded) -> dict[tuple[str, str], list[Combined]]:
    """Return what tables have, by square: a loss that saw later tokens only where there is no causal one; losses in one unit."""
    _, factor = losses.unit_of(loaded)
    made = [each for each in combined(loaded) if each.metric in SHOWN]
    causal = any(each.metric == CAUSAL_LOSS and each.together.typical.value is not None for each in made)
    return grouped(
        (each.square.key, each.scaled(factor)) for each in made if not (causal and each.metric == "loss/val")
    )


def _table(loaded: Loaded, group: Sequence[Combined]) -> Table:
    square = group[0].square
    sides = [[_alone(one) for one in (each.skips, each.mixes, each.both)] for each in group]
    return Table(
        square.title,
        (square.title, "", square.skipping, square.mixing, "both", "both ÷ product"),
        [(*named, *cells, in_words(each)) for named, cells, each in zip(_named(group), sides, group, strict=True)],
        notes=[Sentence("ratios: {base} ÷ row", base=square.base), *_notes(loaded, group)],
        file="combine.csv",
    )


def _named(group: Sequence[Combined]) -> Iterator[tuple[Value, Value]]:
    """Yield the first two cells of rows: a metric at its first length, and each length."""
    before = ""
    for each in group:
        yield SHOWN[each.metric] if each.metric != before else "", PlaceAmong(each.square.both.place)
        before = each.metric


def _alone(found: Finding) -> Value:
    """A ratio or a difference without its interval, which `combine.csv` has; else its status."""
    return found.status if found.typical.value is None else found.typical.alone


def _notes(loaded: Loaded, group: Sequence[Combined]) -> Iterator[Value]:
    base, unit = group[0].square.base, losses.unit_of(loaded)[0]
    yield "÷ product: 1× where savings multiply, less where they overlap; FLOPs and bytes follow from the models' sizes"
    if any(each.together.typical.kind == "difference" for each in group):
        words = "losses: {unit} over {base}, then over the sum of both alone, {n:seed}"
        yield Sentence(words, unit=unit, base=base, n=len(loaded.suite.seeds))


def in_place(loaded: Loaded) -> InPlace | None:
    """Return one table of all combinations, in place of those of times; None where there is none."""
    groups = list(_shown(loaded).values())
    if not groups:
        return None
    rows = {(each.metric, each.length): each for group in groups for each in group}
    cells = [{(each.metric, each.length): (_alone(each.both), each.together) for each in group} for group in groups]
    made = Table(
        "do savings multiply",
        ("", "", *(title for _ in groups for title in ("both", "÷ product"))),
        [
            (*named, *(cell for of in cells for cell in of.get(key, ("", ""))))
            for named, key in zip(_named([*rows.values()]), rows, strict=True)
        ],
        groups=("", "", *(group[0].square.title for group in groups for _ in range(2))),
        notes=[*_notes(loaded, groups[0])],
    )
    words = {"▲": BETTER, "▼": WORSE, "≈": "equal"}
    return InPlace([made], name(loaded.baseline), loaded.shown, frozenset(SHOWN), words)


def answer(loaded: Loaded) -> Iterator[Sentence]:
    """Say of each combination how often both save less time than the product, and how it is at the longest length.

    FLOPs and bytes follow from the sizes of the models: a share of them is no evidence, and one of them is named only where no
    time is known.
    """
    counted = list[Sentence]()
    for group in _shown(loaded).values():
        ratios = [each for each in group if each.together.typical.kind == "ratio"]
        times = [each for each in ratios if each.together.timed]
        known = [each for each in times or ratios if each.together.typical.value is not None]
        if not known:
            continue
        first = max((each for each in known if each.metric == known[0].metric), key=lambda each: each.length)
        said = Sentence(
            "{what}, T = {length}: {together}",
            what=SHOWN[first.metric],
            length=first.length,
            together=first.together.typical,
        )
        verdicts_ = [each.together.verdict for each in times]
        both, less = first.square.title, verdicts_.count(WORSE)
        if any(verdicts_):
            counted.append(Sentence("{both} in {less} of {n} ({said})", both=both, less=less, n=len(times), said=said))
        else:
            yield Sentence("{both}: {said} of the product.", both=both, said=said)
    if counted:
        yield Sentence("In time both save less than the product: {counted}.", counted=Listed(counted))
