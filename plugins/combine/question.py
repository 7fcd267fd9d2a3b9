"""Do savings multiply? Skipping tokens and a cheaper mixer, each alone and both together, by time, FLOPs, memory and loss.

Four variants are the corners of a square: the baseline, one that skips tokens, one with another mixer, one with both. With
ratios to the baseline, the ratio of ratios is (both) ÷ (skips x mixes): 1 where savings multiply, below 1 where both together
save less than the product. Of times it is taken process by process, as every ratio. A loss has the difference of differences,
seed by seed: 0 where both add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from modbench.extend import (
    BYTES,
    CAUSAL_LOSS,
    LEVEL,
    SMOKE,
    WORKLOADS,
    WORSE,
    ByClock,
    Case,
    Comparison,
    Contrast,
    DataTable,
    Estimate,
    Finding,
    InPlace,
    Loaded,
    ModelConfig,
    Rule,
    Sentence,
    Side,
    Table,
    Tables,
    Value,
    columns_of,
    comparisons,
    contrast,
    count,
    grid_point,
    grouped,
    interval,
    joined_reasons,
    losses,
    minus,
    name,
    no_interval,
    number,
    of_pair,
    of_row,
    pair_row,
    paired,
    ratio_columns,
    text,
    where_it_ran,
)
from modbench.extend import AnyMetric as Metric
from modbench.extend import counted_of_contrast as counted

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


@dataclass(frozen=True)
class Square:
    """Four variants of one place.

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
    def skipping(self) -> str:
        """The first change in few words: `MoD 0.125`."""
        own = [part for part in self.skips.variant_parts if part not in self.base.variant_parts]
        return name(self.skips.model_copy(update={"variant_parts": tuple(own)}))

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
        square: the four variants.
        skips: the first change alone, against the baseline.
        mixes: the second.
        both: both.
        together: what both save over the product of what each saves alone, or the loss of both over the sum.
        n: processes or seeds; None of what was counted.
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

    @property
    def is_ratio(self) -> bool:
        """Whether it is a ratio of ratios, not a difference of differences."""
        return self.together.typical.kind == "ratio"

    @property
    def length(self) -> int:
        """Tokens of the sequence."""
        return self.square.both.grid_point.seq_len

    @property
    def expected(self) -> float | None:
        """The product of both ratios, or the sum of both differences; None where one of them is not known."""
        skips, mixes, both = (each.typical.value for each in (self.skips, self.mixes, self.together))
        if skips is None or mixes is None or both is None:
            return None
        return skips * mixes if self.is_ratio else skips + mixes


def combined(loaded: Loaded) -> list[Combined]:
    """Return every square in every metric: by square, metric and length; empty where no four variants are one."""
    tables, found = loaded.tables, list[tuple[Square, dict[str, Any]]]()
    for comparison in loaded.plan.comparisons:
        if comparison.variants[0].conditions:
            continue
        here = list(squares(comparison, tables.baseline_of(comparison)))
        for key in comparison.metrics if here else ():
            metric = tables.metrics[key]
            if metric.source or metric.better == "neither":  # a rate is the inverse of its time
                continue
            for square in here:  # judged in a family with the other squares of its place
                row = pair_row(tables, square.both, square.mixes, metric, partial(_together, square))
                found.append((square, comparisons.of_family(row, (comparison.label, key), primary=True)))
    comparisons.settle(tables, [row for _, row in found], loaded.aa_control_verdicts)
    made = [_of_square(loaded, square, row) for square, row in found]
    titles, metrics = [each.square.title for each in made], [*SHOWN, *loaded.suite.metrics]
    return sorted(made, key=lambda each: (titles.index(each.square.title), metrics.index(each.metric), each.length))


def squares(comparison: Comparison, base: Case) -> Iterator[Square]:
    """Yield the squares of a place around its baseline; of users' models, whose mixers are not known, none."""
    variants = [case for case in comparison.variants if not (case.matched or case.is_user_model or base.is_user_model)]
    if len({_mixer(case.config) for case in variants}) < 2:
        return
    by_place = {(_rest(case), _mixer(case.config)): case for case in variants}
    rest, mixer = _rest(base), _mixer(base.config)
    for (own, other), both in by_place.items():
        if own != rest and other != mixer:
            skips, mixes = by_place.get((own, mixer)), by_place.get((rest, other))
            if skips is not None and mixes is not None:
                yield Square(base, skips, mixes, both)


def _mixer(config: ModelConfig) -> tuple[str, int | None]:
    return config.mixer, config.reach


def _rest(case: Case) -> tuple[str, ModelConfig, Any]:
    """What a variant is besides its mixer."""
    same = {key: ModelConfig.model_fields[key].default for key in MIXER}
    return case.model, case.config.model_copy(update=same), case.options


def _together(square: Square, tables: Tables, both: Case, mixes: Case, metric: Metric) -> dict[str, Any]:
    """Return what skipping does with the other mixer, over what it does with the baseline's."""
    pairs = ((both, mixes), (square.skips, square.base))
    beside, alone = (pair_row(tables, case, base, metric) for case, base in pairs)
    for row in (beside, alone):
        if row["status"] != "ok":
            return {"status": row["status"], "reason": row["reason"]}
    smoke = None if tables.suite.claims else SMOKE
    found: Contrast | None
    if tables.made_in(metric).samples == "processes":
        sides = (tables.numbers(metric, case, base) for case, base in pairs)
        rule = Rule("time", tables.suite.margin, estimand=metric.estimand)
        found = numbers_of_pairs(*sides).contrast(rule)
        columns = {**ratio_columns(found, "median"), "n": found.wall.effect.n}
        reasons = [found.wall.effect.reason, smoke]
    elif metric.scored_as == "ratio":
        if beside.get("ratio") is None or alone.get("ratio") is None:
            return {"status": "skipped", "reason": "one of the four is 0: there is no ratio"}
        rule = Rule("count", tables.suite.margin, "higher")
        judged = tables.suite.claims and tables.made_in(metric).judged
        found = counted(alone["ratio"], beside["ratio"], rule) if judged else None
        columns = {"ratio": beside["ratio"] / alone["ratio"]}
        reasons = [no_interval(tables, both, metric), smoke]
    else:
        found = _of_seeds(tables, pairs, metric)
        columns = {**columns_of(found.effect, "difference"), "n": found.effect.n}
        reasons = [found.effect.reason]
    return {"status": "ok", "reason": joined_reasons(reasons), **columns, "contrast": found}


def _of_seeds(tables: Tables, pairs: Sequence[tuple[Case, Case]], metric: Metric) -> Contrast:
    """Compare the differences of two pairs, seed by seed."""
    (both, mixes), (skips, base) = ([tables.values_of(case, metric.key) for case in pair] for pair in pairs)
    seeds = sorted(both.keys() & mixes.keys() & skips.keys() & base.keys())
    beside, alone = (ByClock({s: one[s] - other[s] for s in seeds}) for one, other in ((both, mixes), (skips, base)))
    return contrast(Side(alone), Side(beside), "interleaved", Rule("loss", 0.0, metric.better))


def _of_square(loaded: Loaded, square: Square, row: Mapping[str, Any]) -> Combined:
    """Each change alone is compared as everywhere, with the report's baseline."""
    cases = (square.skips, square.mixes, square.both)
    rows = [loaded.pair(case.variant, row["metric"], case.grid_point) for case in cases]
    skips, mixes, both = (of_pair(loaded, found) for found in rows if found is not None)
    return Combined(square, skips, mixes, both, of_row(row, square.both, square.mixes), row.get("n"))


def _labels(row: Combined) -> str:
    found = (label for one in (row.skips, row.both, row.together) for label in (*one.labels, *one.against_labels))
    return ";".join(dict.fromkeys(found))


TABLE = DataTable[Combined](
    "combine",
    "a combination of two changes at one length, by one metric",
    (
        text("metric", "what is compared", lambda row: row.metric),
        text(
            "unit",
            "unit of differences; null of ratios",
            lambda row: None if row.is_ratio else row.together.typical.unit,
        ),
        text("variant", "the variant with both changes", lambda row: row.square.both.variant),
        text("skips_variant", "the variant that skips tokens", lambda row: row.square.skips.variant),
        text("mixes_variant", "the variant with the other mixer", lambda row: row.square.mixes.variant),
        text("baseline_variant", "what each is compared with", lambda row: row.square.base.variant),
        number("capacity", "share of tokens in a routed block", lambda row: row.square.both.config.capacity),
        text("mixer", "the other mixer", lambda row: row.square.both.config.mixer),
        grid_point(
            lambda row: row.square.both.grid_point, "seq_len", "batch_size", "device", "dtype", "compile", "threads"
        ),
        text(
            "quantity",
            "what is compared with 1, or of a loss with 0",
            lambda row: "ratio of ratios" if row.is_ratio else "difference of differences",
        ),
        interval("skips", "what skipping saves alone", lambda row: row.skips.typical, "skips_"),
        interval("mixes", "what the other mixer saves alone", lambda row: row.mixes.typical, "mixes_"),
        interval("both", "what both save", lambda row: row.both.typical, "both_"),
        number("expected", "product of what each saves alone, or of a loss the sum", lambda row: row.expected),
        interval("value", "both over that product, or of a loss minus that sum", lambda row: row.together.typical),
        number("ci_level", "level of the interval", lambda row: LEVEL if row.together.typical.closed else None),
        text("verdict", "verdict on it", lambda row: row.together.verdict),
        count("n", "processes or seeds; null of what is counted", lambda row: row.n),
        text("labels", "warnings", _labels),
        text("status", "`ok`, `failed` or `skipped`", lambda row: row.together.status),
        text("reason", "why there is no number or no claim", lambda row: row.together.reason),
    ),
    combined,
)


# --- in tables and a sentence


def tables(loaded: Loaded) -> list[Table]:
    """Return a table for each combination: what each change saves alone, what both save, and that over the product.

    A loss that saw later tokens is shown only where there is no causal one.
    """
    made = [each for each in combined(loaded) if each.metric in SHOWN]
    causal = any(each.metric == CAUSAL_LOSS and each.together.typical.value is not None for each in made)
    groups = grouped((each.square.title, each) for each in made if not (causal and each.metric == "loss/val"))
    return [_table(loaded, group) for group in groups.values()]


def _table(loaded: Loaded, group: Sequence[Combined]) -> Table:
    square, (unit, factor) = group[0].square, losses.unit_of(loaded)

    def scaled(found: Finding) -> Estimate:
        return found.typical.scaled(factor, "") if found.typical.kind == "difference" else found.typical

    def alone(found: Finding) -> Value:  # its interval is in combine.csv
        return found.status if found.typical.value is None else scaled(found).alone

    rows = [
        (
            SHOWN[each.metric],
            where_it_ran(each.square.both.grid_point, ()),
            *map(alone, (each.skips, each.mixes, each.both)),
            replace(each.together, typical=scaled(each.together)),
        )
        for each in group
    ]
    notes: list[Value] = [
        Sentence("{base} ÷ row; ÷ product: 1× where savings multiply, less where they overlap", base=square.base),
        Sentence("loss: {unit} over {base}, then over the sum of both", unit=unit, base=square.base),
        losses.seeds_in_words(loaded),
    ]
    head = ("", "", square.skipping, square.mixing, "both", "÷ product")
    return Table(square.title, head, rows, notes=notes, file="combine.csv")


def in_place(loaded: Loaded) -> InPlace | None:
    """Return these tables, in place of those of times; None where there is no combination."""
    made = tables(loaded)
    alone = [replace(each, notes=()) for each in made]
    notes = made[0].notes if made else ()
    return InPlace(alone, name(loaded.baseline), loaded.shown, frozenset(SHOWN), notes=notes) if made else None


def answer(loaded: Loaded) -> Iterator[Sentence]:
    """Say of each combination what both save in time, over the product, at the longest length, and in how many cases it is less.

    FLOPs and bytes follow from the sizes of the models: a share of them is no evidence.
    """
    times = grouped(
        (each.square.title, each.together)
        for each in combined(loaded)
        if each.metric in WORKLOADS and each.together.typical.value is not None
    )
    for title, found in times.items():
        same = [each for each in found if each.metric == found[0].metric]
        first, verdicts = max(same, key=lambda each: each.grid_point.seq_len), [each.verdict for each in found]
        words = "{both} saves {ratio} of the product in time ({what}, T = {length})"
        words += ", less than it in {less} of {n} cases" * any(verdicts) + "."
        counts = {"length": first.grid_point.seq_len, "less": verdicts.count(WORSE), "n": len(found)}
        yield Sentence(words, both=title, ratio=first.typical, what=WORKLOADS[first.metric], **counts)


def numbers_of_pairs(one: paired.Numbers, other: paired.Numbers) -> paired.Numbers:
    """Return two pairs as the sides of a contrast of their ratios: above 0 that of `one` is larger.

    What drifts between processes cancels, as in a pair.
    """

    def difference(pair: paired.Numbers) -> Side:
        cpu = minus(pair.new.cpu, pair.base.cpu) if pair.new.cpu is not None and pair.base.cpu is not None else None
        return Side(minus(pair.new.wall, pair.base.wall), cpu)

    noisy, unfit = max(one.seen.noisy, other.seen.noisy), one.seen.unfit or other.seen.unfit
    return paired.Numbers(difference(other), difference(one), replace(one.seen, noisy=noisy, unfit=unfit))
