"""Compute-equivalent gains: what dense needs for a variant's loss, over the variant's own, in every quantity measured.

Where a loss lies among those of the dense models comes from losses alone (`statistics.py`). What that costs is read
at the training length where the grid has it. What is paid at every step of a training run is multiplied by the steps, which
differ where runs have equal budgets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from modbench.extend import (
    LEVEL,
    PER_TOKEN,
    Case,
    Comparison,
    DataTable,
    Estimate,
    GridPoint,
    Label,
    Loaded,
    Reason,
    Sentence,
    Table,
    TrainNotes,
    Trouble,
    Value,
    between,
    claims,
    count,
    grid_point,
    grouped,
    interval,
    joined_reasons,
    labels,
    lengths,
    number,
    pivot,
    reasons,
    seeds_in_words,
    short,
    text,
)
from modbench.extend import AnyMetric as Metric
from modbench.plugins.sweeps.gain.statistics import Crossing, Rate, crossing, rate
from modbench.plugins.sweeps.isoflop.plan import budget_of

STRAIGHT = "read between two dense models alone: too high where the dense curve bends"
CHECK = "a check: a dense model against the other dense models should give 1"
# Quantities of compute that a loss costs, and their names.
CURRENCIES = {
    "flops/train_step": "training FLOPs",
    "flops/forward": "forward FLOPs",
    "latency/train_step": "seconds of a train step",
    "latency/forward": "seconds of a forward pass",
    "latency/prefill": "seconds of a prefill",
    "latency/decode": "seconds of a decode step",
    "ttft": "seconds to the first token",
    "tpot": "seconds per output token",
    "energy/total": "joules of a train step",
    "energy/per_token": "joules per trained token",
    "energy/per_token/forward": "joules per token of a forward pass",
    "energy/per_token/decode": "joules per decoded token",
    "memory/peak_allocated": "bytes at the peak of a train step",
    "memory/kv_cache": "bytes of the KV cache",
}
NONE = Rate("none")
NO_RATIO = Estimate(None, kind="ratio")
WHOLE_RUN = "of the whole training run: steps times the cost of one"
READING = "compute that dense needs for the variant's loss, over the variant's own; above 1 is better"


@dataclass(frozen=True)
class Variant:
    """A variant beside the dense models that its loss is held against.

    Attributes:
        case: the variant, as trained.
        dense_variants: these models, smallest first.
        loss: key of the loss.
        place: where on the dense models its loss lies; None with the trouble.
        trouble: why it has no loss that compares.
        notes: what else must be known.
        check: whether it is itself a dense model of the dense models.
        mean: its mean loss.
    """

    case: Case
    dense_variants: tuple[Case, ...]
    loss: str
    place: Crossing | None = None
    trouble: Trouble | None = None
    notes: tuple[str, ...] = ()
    check: bool = False
    mean: float = math.inf


@dataclass(frozen=True)
class Speedup:
    """The compute-equivalent gain of one variant in one quantity of compute.

    Attributes:
        variant: the variant.
        metric: this quantity.
        where: where its compute was measured; None where it was not.
        rate: the gain; of kind `none` where something was not measured.
        trouble: what was not measured; None: everything was.
        plain: the speed-up over dense of the same shape.
        labels: warnings about the loss or the compute.
        notes: what else must be known.
    """

    variant: Variant
    metric: Metric
    where: GridPoint | None
    rate: Rate = NONE
    trouble: Trouble | None = None
    plain: Estimate = NO_RATIO
    labels: tuple[Label, ...] = ()
    notes: tuple[Value, ...] = ()

    @property
    def stated(self) -> bool:
        """Whether there is a rate or a bound."""
        return self.rate.kind != "none"

    @property
    def status(self) -> str:
        """`ok`; `failed` or `skipped` where there is neither a rate nor a bound."""
        return self.trouble.status if self.trouble is not None else "ok" if self.stated else "skipped"

    @property
    def found(self) -> Estimate:
        """The gain, or the bound that is known of it."""
        return Estimate.of_interval(self.rate, "ratio", n=self.rate.seeds)

    @property
    def currency(self) -> str:
        """What is paid: `seconds of a train step`; where runs have unequal steps, of the whole run."""
        said = CURRENCIES[self.metric.key]
        return said.replace("a train step", "the training run") if WHOLE_RUN in self.notes else said

    @property
    def reason(self) -> Value:
        """Why there is none, or no interval, and what else must be known."""
        why: Value = reasons.sentence(self.rate.reason)
        if self.trouble is not None:
            why = self.trouble.reason
        elif self.stated:
            why = Sentence("illustration, no claim: {why}", why=why) if self.rate.illustration else None
        return joined_reasons([why, *self.variant.notes, *self.notes])


def speedups(loaded: Loaded) -> list[Speedup]:
    """Return the gains of every variant that was trained with two dense models or more, and the checks on these."""
    asked = [loaded.tables.metrics[key] for key in CURRENCIES if key in loaded.suite.metrics]
    return [_speedup(loaded, variant, metric) for variant in _variants(loaded) for metric in asked]


def _variants(loaded: Loaded) -> Iterator[Variant]:
    """Yield every variant, and every dense model that lies between two others.

    Of one length, one number format and one budget.
    """
    every = [] if loaded.evaluates_only else loaded.plan.comparisons
    trained = [each for each in every if any(key in each.metrics for key in PER_TOKEN)]
    found = grouped(
        ((each.grid_point.seq_len, each.grid_point.dtype, budget_of(each.variants[0])), each) for each in trained
    )
    for (*_, budget), comparisons in found.items():
        cases = [case for comparison in comparisons for case in comparison.variants]
        plain = [case for case in cases if case.model == "dense" and not case.matched]
        if not plain:
            continue
        # Of a sweep all sizes of the first dense variant; else the first dense variant and the smaller ones that were solved for.
        first = plain[0]
        same = {c.id for c in plain if (c.variant == first.variant if budget is None else c.family == first.family)}
        dense = [case for case in cases if case.id in same or (case.model == "dense" and case.matched)]
        if len(dense) < 2:
            continue
        variants = [case for case in cases if case not in dense]
        dense.sort(key=lambda case: _size(loaded, case))
        asked = [key for key in PER_TOKEN if any(key in comparison.metrics for comparison in comparisons)]
        yield from (_variant(loaded, asked, case, dense) for case in variants)
        if budget is None:  # a curve at one budget turns, and is not straight between points far apart
            for case in dense[1:-1]:
                others = [other for other in dense if other != case]
                yield _variant(loaded, asked, case, others, check=True)


def _size(loaded: Loaded, case: Case) -> float:
    """Forward FLOPs with causal attention, which order the dense models; 0 where they were not counted."""
    return float(loaded.tables.counted(case).forward_causal or 0.0)


def _variant(
    loaded: Loaded, losses: Sequence[str], case: Case, dense: Sequence[Case], *, check: bool = False
) -> Variant:
    """Place one variant on the dense models, by the first loss that it and two dense models have."""
    troubles, tables = list[Trouble](), loaded.tables
    for key in losses:
        trouble = tables.value(case, tables.metrics[key]).trouble
        sized = [c for c in dense if _size(loaded, c) and tables.value(c, tables.metrics[key]).trouble is None]
        read = {(n.corpus_sha256, n.tokenizer) for c in (case, *sized) for n in tables.notes_of(c, key, TrainNotes)[:1]}
        if trouble is not None:
            troubles.append(trouble)
        elif len(sized) < 2:
            troubles.append(Trouble("skipped", f"fewer than two dense models have {key}"))
        elif len(read) > 1:
            troubles.append(Trouble("skipped", "the variant and the dense models read different text, or other tokens"))
        else:
            values = (tables.values_of(each, key) for each in (case, *sized))
            own, *dense_variants = [[each[seed] for seed in loaded.suite.seeds] for each in values]
            notes = [CHECK] * check + [STRAIGHT] * (len(sized) == 2 and not check)
            notes += [f"left out, without {key}: {c.variant}" for c in dense if c not in sized]
            place = crossing(dense_variants, own, turns=budget_of(case) is not None)
            return Variant(case, tuple(sized), key, place, None, tuple(notes), check, sum(own) / len(own))
    found = next((each for each in troubles if each.status == "failed"), troubles[-1])
    return Variant(case, tuple(dense), losses[-1], trouble=found, check=check)


def _speedup(loaded: Loaded, variant: Variant, metric: Metric) -> Speedup:
    """Return a variant's gain in one quantity of compute."""
    tables, case = loaded.tables, variant.case
    if variant.place is None:
        return Speedup(variant, metric, None, trouble=variant.trouble)
    where = _measured(loaded, metric, variant)
    if where is None:
        said = f"{metric.key} was not measured for the variant and the dense models in one place"
        return Speedup(variant, metric, None, trouble=Trouble("skipped", said))
    notes, here, trained = list[Value](), where.grid_point, case.grid_point.seq_len
    if here.seq_len != trained:
        words = "compute at T = {here}; nothing was measured at the training length, {trained}"
        notes.append(Sentence(words, here=here.seq_len, trained=trained))
    at = {each.variant: each for each in where.variants}
    sides = [at[each.variant] for each in (case, *variant.dense_variants)]
    sampled = tables.made_in(metric).samples == "processes"
    for side in sides:
        trouble = tables.value(side, metric).trouble or (tables.anchor_trouble(side, metric) if sampled else None)
        if trouble is not None:
            said = trouble.reason if side is sides[0] else f"{side.variant}: {trouble.reason}"
            return Speedup(variant, metric, here, trouble=trouble._replace(reason=said), notes=tuple(notes))
    steps = _steps_over(loaded, metric, variant)
    if any(steps):
        notes.append(WHOLE_RUN)
    costs = [[cost + more for cost in each] for each, more in zip(_costs(loaded, metric, sides), steps, strict=True)]
    found = rate(variant.place, costs, counted=not sampled)
    if found.kind != "none" and not loaded.suite.claims:
        found = replace(found, illustration=True, reason=Reason("smoke effort: no claims"))
        found = replace(found, low=None, high=None) if found.kind == "rate" else found
    plain, noisy = _beside(loaded, metric, where, variant)
    warned = [*tables.value(case, tables.metrics[variant.loss]).labels, *tables.value(sides[0], metric).labels]
    warned += [*claims.machine_labels(tables, sides[0], metric), *[Label.NOISY] * noisy]
    return Speedup(variant, metric, here, found, None, plain, tuple(dict.fromkeys(warned)), tuple(notes))


def _measured(loaded: Loaded, metric: Metric, variant: Variant) -> Comparison | None:
    """Where all were measured: at the training length, else the longest; at the batch size of training if it can be."""
    trained, sides = variant.case.grid_point, {case.variant for case in (variant.case, *variant.dense_variants)}

    def far(comparison: Comparison) -> tuple[bool, int, bool, bool]:
        place = comparison.grid_point
        other = place.batch_size != trained.batch_size, place.execution != trained.execution
        return place.seq_len != trained.seq_len, -place.seq_len, *other

    asked = (each for each in loaded.plan.comparisons if metric.key in each.metrics)
    whole = (each for each in asked if sides <= {case.variant for case in each.variants})
    return min((each for each in whole if each.grid_point.dtype == trained.dtype), key=far, default=None)


def _steps_over(loaded: Loaded, metric: Metric, variant: Variant) -> list[float]:
    """Log of each dense model's steps over the variant's, for what is paid at every step of a training run; else 0."""
    if metric.workload != "train_step" or metric.unit == "B":
        return [0.0] * len(variant.dense_variants)
    runs = ((job.comparison.variants[0].id, job.protocol.train) for job in loaded.runs)
    steps = {case: run.steps for case, run in runs if run is not None}
    return [math.log(steps[matched.id] / steps[variant.case.id]) for matched in variant.dense_variants]


def _costs(loaded: Loaded, metric: Metric, sides: Sequence[Case]) -> list[list[float]]:
    """Log of each dense model's compute over that of the variant, the first of the sides, by process.

    One number where counted.
    """
    tables = loaded.tables
    if tables.made_in(metric).samples != "processes":
        own, *others = (tables.value(side, metric).estimate.value for side in sides)
        return [[math.log(each / own)] for each in others]
    column = tables.made_in(metric).column
    over_anchor = [
        {
            number: each.by(column).medians.item(each.number[side.id])
            for number, each in tables.value(side, metric).processes.items()
            if each.shares(side.id)
        }
        for side in sides
    ]
    whole = [number for number in over_anchor[0] if all(number in each for each in over_anchor)]
    return [[each[number] - over_anchor[0][number] for number in whole] for each in over_anchor[1:]]


def _beside(loaded: Loaded, metric: Metric, where: Comparison, variant: Variant) -> tuple[Estimate, bool]:
    """The speed-up over dense of the same shape, and whether a pair with the dense models is noisy."""
    plain, noisy, here = NO_RATIO, False, {each.id for each in where.variants}
    sized = budget_of(variant.case) is not None
    same = next((c for c in variant.dense_variants if (c.size == variant.case.size if sized else not c.matched)), None)
    for matched in variant.dense_variants:
        for found in between(loaded, metric.key, variant.case, matched):
            if found.case.id in here and found.status == "ok":
                noisy = noisy or not {Label.NOISY, Label.BY_CPU}.isdisjoint(found.labels)
                plain = found.typical if matched == same and found.typical.kind == "ratio" else plain
    return plain, noisy


TABLE = DataTable[Speedup](
    "exchange",
    "a variant and a quantity of compute",
    (
        text("variant", "the variant", lambda row: row.variant.case.variant),
        text("model", "its model", lambda row: row.variant.case.model),
        number("capacity", "its share of tokens in a routed block", lambda row: row.variant.case.config.capacity),
        number(
            "train_flops", "training FLOPs of every run of a sweep", lambda row: budget_of(row.variant.case), "FLOP"
        ),
        grid_point(lambda row: row.where, "seq_len", "batch_size"),
        text("dtype", "number format of weights and activations", lambda row: row.variant.case.grid_point.dtype),
        text("metric", "the quantity of compute", lambda row: row.metric.key),
        text("unit", "its unit", lambda row: row.metric.unit),
        text("loss_metric", "the loss that is bought", lambda row: row.variant.loss),
        text(
            "kind", "`rate`, `bound_below`, `bound_above` or `none`", lambda row: None if row.trouble else row.rate.kind
        ),
        interval(
            "gain", "compute of dense for the variant's loss, over the variant's own", lambda row: row.rate, "gain_"
        ),
        number(
            "ci_level",
            "level of the interval",
            lambda row: LEVEL if row.found.bounded and not row.rate.illustration else None,
        ),
        interval("ratio", "the speed-up over dense of the same shape", lambda row: row.plain, "ratio_"),
        count("seeds", "seeds of every loss", lambda row: None if row.trouble else row.rate.seeds),
        count("processes", "processes behind a time; null: counted", lambda row: row.rate.processes or None),
        text(
            "dense_variants",
            "the dense models, smallest first",
            lambda row: " ".join(matched.variant for matched in row.variant.dense_variants),
        ),
        text("status", "`ok`, `failed` or `skipped`", lambda row: row.status),
        text("reason", "why there is none, or no interval, and what else must be known", lambda row: row.reason),
        text("labels", "warnings", lambda row: labels.joined(row.labels)),
    ),
    speedups,
)


# --- in a table


def table(loaded: Loaded) -> Table | None:
    """Return the gains in every quantity; of a sweep those of each variant at its best size. None where there is none."""
    found = grouped((_trained(row.variant.case), row) for row in speedups(loaded) if not row.variant.check)
    made = list[Speedup]()
    for rows in found.values():
        best = min((row.variant for row in rows), key=lambda variant: variant.mean)
        made += [row for row in rows if row.variant is best]
    stated = {row.metric for row in made if row.stated}
    cells = [(_called(loaded, row.variant), "", row.currency, _cell(row)) for row in made if row.metric in stated]
    notes = [READING, seeds_in_words(loaded)]
    return replace(pivot("compute-equivalent gain", cells), notes=notes, file="exchange.csv") if stated else None


def _trained(case: Case) -> tuple[object, ...]:
    return budget_of(case), case.grid_point.seq_len, case.grid_point.dtype, case.family


def _called(loaded: Loaded, variant: Variant) -> Sentence:
    """Name a variant, with what distinguishes its training."""
    case = variant.case
    words = "{variant}" + " at T = {at}" * (len(lengths(loaded)) > 1) + ", {budget}" * (budget_of(case) is not None)
    budget = Estimate(budget_of(case), unit="FLOP")
    return Sentence(words, variant=short(case), at=case.grid_point.seq_len, budget=budget)


def _cell(row: Speedup) -> Value:
    """Return a gain, and what readers must know before they believe it."""
    doubted = {*labels.LOOKED_AHEAD, *labels.OF_WORK, Label.NOISY}
    doubts = [*["illustration"] * row.rate.illustration, *(label for label in row.labels if label in doubted)]
    found = row.found if row.stated else "none"
    return Sentence("{found} ({doubts})", found=found, doubts=", ".join(doubts)) if doubts and row.stated else found
