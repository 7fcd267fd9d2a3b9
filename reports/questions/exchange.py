"""Effective speed-ups: the dense compute that buys an arm's loss, over the arm's own compute, in every currency measured.

A place on the dense ladder comes from losses alone (`harness/stats/exchange.py`). What it costs are FLOPs, seconds, joules or
bytes over the arm's own, where the run measured them. Compute is read at the training length where the grid has it. What is paid
at every step of a training run is multiplied by the steps, which differ where runs have equal budgets of FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from modbench.harness.core import labels
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case, Comparison, Place
from modbench.harness.domain.notes import TrainNotes
from modbench.harness.stats.effects import LEVEL
from modbench.harness.stats.exchange import Crossing, Rate, crossing, rate
from modbench.harness.stats.reason import Reason
from modbench.reports import reasons
from modbench.reports.data_table import DataTable, count, interval, number, place, text
from modbench.reports.model import Estimate, Listed, Sentence, Table, Value, pivot
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.cell import Trouble, joined_reasons
from modbench.reports.tables.findings import between
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import lengths, seeds_in_words
from modbench.reports.tables.outcomes import PER_TOKEN
from modbench.reports.wording import short

STRAIGHT = "read between two dense models alone: too high where the dense curve bends"
CHECK = "a check: a dense model against the others of its ladder should give 1"
# What a loss is paid in, and its name.
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
DEFINED = "Effective speed-up: the compute of a dense model with the arm's loss, over the arm's own"


@dataclass(frozen=True)
class Arm:
    """An arm beside the dense models that its loss is held against.

    Attributes:
        case: the arm, as trained.
        ladder: these models, smallest first.
        loss: key of the loss.
        place: where on the ladder its loss lies; None with the trouble.
        trouble: why it has no loss that compares.
        notes: what else must be known.
        check: whether it is itself a dense model of the ladder.
        mean: its mean loss.
    """

    case: Case
    ladder: tuple[Case, ...]
    loss: str
    place: Crossing | None = None
    trouble: Trouble | None = None
    notes: tuple[str, ...] = ()
    check: bool = False
    mean: float = math.inf


@dataclass(frozen=True)
class Speedup:
    """The effective speed-up of one arm in one currency.

    Attributes:
        arm: the arm.
        metric: the currency.
        where: where its compute was measured; None where it was not.
        rate: the effective speed-up; of kind `none` where something was not measured.
        trouble: what was not measured; None: everything was.
        plain: the plain ratio beside it.
        labels: warnings about the loss or the compute.
        notes: what else must be known.
    """

    arm: Arm
    metric: Metric
    where: Place | None
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
        """The effective speed-up, or the bound that is known of it."""
        return Estimate.of_interval(self.rate, "ratio", n=self.rate.seeds)

    @property
    def currency(self) -> str:
        """What is paid: `seconds of a train step`; where runs have unequal steps, of the whole run."""
        said = CURRENCIES[self.metric.key]
        return said.replace("a train step", "the training run") if WHOLE_RUN in self.notes else said

    @property
    def why(self) -> Value:
        """Why there is none, or no interval."""
        return self.trouble.reason if self.trouble is not None else reasons.sentence(self.rate.reason)

    @property
    def reason(self) -> Value:
        """The same with what else must be known."""
        why = self.why
        if self.trouble is None and not self.stated:
            why = Sentence("no effective speed-up at this budget: {why}", why=why)
        elif self.trouble is None:
            why = Sentence("illustration, no claim: {why}", why=why) if self.rate.illustration else None
        return joined_reasons([why, *self.arm.notes, *self.notes])


def speedups(loaded: Loaded) -> list[Speedup]:
    """Return the effective speed-ups of every arm that was trained beside a dense ladder, and the checks on the ladder itself."""
    asked = [loaded.tables.metrics[key] for key in CURRENCIES if key in loaded.suite.metrics]
    return [_speedup(loaded, arm, metric) for arm in _arms(loaded) for metric in asked]


def _arms(loaded: Loaded) -> Iterator[Arm]:
    """Yield every arm, and every dense model that lies between two others: of one length, one number format and one budget."""
    every = [] if loaded.evaluates_only else loaded.plan.comparisons
    trained = [each for each in every if not each.arms[0].task and any(key in each.metrics for key in PER_TOKEN)]
    found = grouped(((each.place.seq_len, each.place.dtype, each.arms[0].budget), each) for each in trained)
    for (*_, budget), comparisons in found.items():
        cases = [case for comparison in comparisons for case in comparison.arms]
        plain = [case for case in cases if case.model == "dense" and not case.rung]
        if not plain:
            continue
        # Of a sweep all sizes of the first dense variant; else the first dense arm and the smaller ones that were solved for.
        same = {c.id for c in plain if (c.arm == plain[0].arm if budget is None else c.variant == plain[0].variant)}
        dense = [case for case in cases if case.id in same or (case.model == "dense" and case.rung)]
        if len(dense) < 2:
            continue
        arms = [case for case in cases if case not in dense]
        dense.sort(key=lambda case: _size(loaded, case))
        asked = [key for key in PER_TOKEN if any(key in comparison.metrics for comparison in comparisons)]
        yield from (_arm(loaded, asked, case, dense) for case in arms)
        if budget is None:  # a curve at one budget turns, and is not straight between points far apart
            for case in dense[1:-1]:
                others = [other for other in dense if other != case]
                yield _arm(loaded, asked, case, others, check=True)


def _size(loaded: Loaded, case: Case) -> float:
    """Forward FLOPs with causal attention, which order the ladder; 0 where they were not counted."""
    return float(loaded.tables.counted(case).forward_causal or 0.0)


def _arm(loaded: Loaded, losses: Sequence[str], case: Case, dense: Sequence[Case], *, check: bool = False) -> Arm:
    """Place one arm on the ladder, by the first loss that it and two dense models have."""
    troubles, tables = list[Trouble](), loaded.tables
    for key in losses:
        trouble = tables.trouble(case, tables.metrics[key])
        sized = [c for c in dense if _size(loaded, c) and tables.trouble(c, tables.metrics[key]) is None]
        read = {(n.corpus_sha256, n.tokenizer) for c in (case, *sized) for n in tables.notes_of(c, key, TrainNotes)[:1]}
        if trouble is not None:
            troubles.append(trouble)
        elif len(sized) < 2:
            troubles.append(Trouble("skipped", f"fewer than two dense models have {key}"))
        elif len(read) > 1:
            troubles.append(Trouble("skipped", "the arm and the dense models read different text, or other tokens"))
        else:
            values = (tables.values_of(each, key) for each in (case, *sized))
            own, *ladder = [[each[seed] for seed in loaded.suite.seeds] for each in values]
            notes = [CHECK] * check + [STRAIGHT] * (len(sized) == 2 and not check)
            notes += [f"left out of the ladder, without {key}: {c.arm}" for c in dense if c not in sized]
            place = crossing(ladder, own, turns=case.budget is not None)
            return Arm(case, tuple(sized), key, place, None, tuple(notes), check, sum(own) / len(own))
    found = next((each for each in troubles if each.status == "failed"), troubles[-1])
    return Arm(case, tuple(dense), losses[-1], trouble=found, check=check)


def _speedup(loaded: Loaded, arm: Arm, metric: Metric) -> Speedup:
    """Return an arm's effective speed-up in one currency."""
    tables, case = loaded.tables, arm.case
    if arm.place is None:
        return Speedup(arm, metric, None, trouble=arm.trouble)
    where = _measured(loaded, metric, arm)
    if where is None:
        said = f"{metric.key} was not measured for the arm and its dense ladder side by side"
        return Speedup(arm, metric, None, trouble=Trouble("skipped", said))
    notes, here, trained = list[Value](), where.place, case.place.seq_len
    if here.seq_len != trained:
        words = "compute at T = {here}; nothing was measured at the training length, {trained}"
        notes.append(Sentence(words, here=here.seq_len, trained=trained))
    at = {each.arm: each for each in where.arms}
    sides = [at[each.arm] for each in (case, *arm.ladder)]
    sampled = tables.made_in(metric).samples == "launches"
    for side in sides:
        trouble = tables.trouble(side, metric) or (tables.anchor_trouble(side, metric) if sampled else None)
        if trouble is not None:
            said = trouble.reason if side is sides[0] else f"{side.arm}: {trouble.reason}"
            return Speedup(arm, metric, here, trouble=trouble._replace(reason=said), notes=tuple(notes))
    steps = _steps_over(loaded, metric, arm)
    if any(steps):
        notes.append(WHOLE_RUN)
    costs = [[cost + more for cost in each] for each, more in zip(_costs(loaded, metric, sides), steps, strict=True)]
    found = rate(arm.place, costs, counted=not sampled)
    if found.kind != "none" and not loaded.suite.claims:
        found = replace(found, illustration=True, reason=Reason("smoke"))
        found = replace(found, low=None, high=None) if found.kind == "rate" else found
    plain, contaminated = _beside(loaded, metric, where, arm)
    warned = [*tables.row_labels(case, tables.metrics[arm.loss]), *tables.row_labels(sides[0], metric)]
    warned += [*pair_verdicts.machine_labels(tables, sides[0], metric), *[Label.CONTAMINATED] * contaminated]
    return Speedup(arm, metric, here, found, None, plain, tuple(dict.fromkeys(warned)), tuple(notes))


def _measured(loaded: Loaded, metric: Metric, arm: Arm) -> Comparison | None:
    """Where all were measured: at the training length, else the longest; at the batch size of training if it can be."""
    trained, sides = arm.case.place, {case.arm for case in (arm.case, *arm.ladder)}

    def far(comparison: Comparison) -> tuple[bool, int, bool, bool]:
        place = comparison.place
        other = place.batch_size != trained.batch_size, place.execution != trained.execution
        return place.seq_len != trained.seq_len, -place.seq_len, *other

    found = [
        each
        for each in loaded.plan.comparisons
        if metric.key in each.metrics and each.place.dtype == trained.dtype and sides <= {c.arm for c in each.arms}
    ]
    return min(found, key=far, default=None)


def _steps_over(loaded: Loaded, metric: Metric, arm: Arm) -> list[float]:
    """Log of each dense model's steps over the arm's, for what is paid at every step of a training run; else 0."""
    if metric.workload != "train_step" or metric.unit == "B":
        return [0.0] * len(arm.ladder)
    runs = ((unit.comparison.arms[0].id, unit.protocol.train) for unit in loaded.runs)
    steps = {case: run.steps for case, run in runs if run is not None}
    return [math.log(steps[rung.id] / steps[arm.case.id]) for rung in arm.ladder]


def _costs(loaded: Loaded, metric: Metric, sides: Sequence[Case]) -> list[list[float]]:
    """Log of each dense model's compute over that of the arm, the first of the sides, by launch; one number where counted."""
    tables = loaded.tables
    if tables.made_in(metric).samples != "launches":
        own, *others = (tables.estimate(side, metric).value for side in sides)
        return [[math.log(each / own)] for each in others]
    column = tables.made_in(metric).column
    over_anchor = [
        {
            number: each.by(column).medians.item(each.number[side.id])
            for number, each in tables.processes(side, metric).items()
            if each.shares(side.id)
        }
        for side in sides
    ]
    launches = [[each.get(number) for each in over_anchor] for number in over_anchor[0]]
    whole = [each for launch in launches if len(each := [cost for cost in launch if cost is not None]) == len(sides)]
    return [[each[i] - each[0] for each in whole] for i in range(1, len(sides))]


def _beside(loaded: Loaded, metric: Metric, where: Comparison, arm: Arm) -> tuple[Estimate, bool]:
    """The plain ratio to the dense model of the same shape, and whether a pair with the ladder is contaminated."""
    plain, contaminated, here = NO_RATIO, False, {each.id for each in where.arms}
    sized = arm.case.budget is not None
    same = next((c for c in arm.ladder if (c.size == arm.case.size if sized else not c.rung)), None)
    for rung in arm.ladder:
        for found in between(loaded, metric.key, arm.case, rung):
            if found.case.id in here and found.status == "ok":
                contaminated = contaminated or not {Label.CONTAMINATED, Label.BY_CPU}.isdisjoint(found.labels)
                plain = found.typical if rung == same and found.typical.kind == "ratio" else plain
    return plain, contaminated


TABLE = DataTable[Speedup](
    "exchange",
    "an arm and a currency",
    (
        text("arm", "the arm", lambda row: row.arm.case.arm),
        text("model", "its model", lambda row: row.arm.case.model),
        number("capacity", "its share of tokens in a routed block", lambda row: row.arm.case.config.capacity),
        number("budget", "training FLOPs of every run of a sweep", lambda row: row.arm.case.budget, "FLOP"),
        place(lambda row: row.where, "seq_len", "batch_size"),
        text("dtype", "number format of weights and activations", lambda row: row.arm.case.place.dtype),
        text("metric", "the currency", lambda row: row.metric.key),
        text("unit", "its unit", lambda row: row.metric.unit),
        text("loss_metric", "the loss that is bought", lambda row: row.arm.loss),
        text(
            "kind", "`rate`, `bound_below`, `bound_above` or `none`", lambda row: None if row.trouble else row.rate.kind
        ),
        interval("effective_speedup", "dense compute with the arm's loss over the arm's own", lambda row: row.rate),
        number(
            "ci_level",
            "level of the interval",
            lambda row: LEVEL if row.found.bounded and not row.rate.illustration else None,
        ),
        interval("ratio", "the plain ratio to dense of the same shape", lambda row: row.plain, "ratio_"),
        count("seeds", "seeds of every loss", lambda row: None if row.trouble else row.rate.seeds),
        count("launches", "processes behind a time; null: counted", lambda row: row.rate.launches or None),
        text("ladder", "the dense models, smallest first", lambda row: " ".join(rung.arm for rung in row.arm.ladder)),
        text("status", "`ok`, `failed` or `skipped`", lambda row: row.status),
        text("reason", "why there is none, or no interval, and what else must be known", lambda row: row.reason),
        text("labels", "warnings", lambda row: labels.joined(row.labels)),
    ),
    speedups,
)


# --- in tables


def called(loaded: Loaded, arm: Arm) -> Sentence:
    """Name an arm in a figure or a table, with what distinguishes its training."""
    return Sentence(
        "{arm}"
        + " at T = {at}" * (len(lengths(loaded)) > 1)
        + ", {budget}" * (arm.case.budget is not None)
        + " (check)" * arm.check,
        arm=short(arm.case),
        at=arm.case.place.seq_len,
        budget=Estimate(arm.case.budget, unit="FLOP"),
    )


def best_sizes(made: Iterable[Speedup]) -> list[Speedup]:
    """Return those of every variant of a sweep at the size with the lowest mean loss; of every other arm; checks last."""

    def variant(row: Speedup) -> tuple[object, ...]:
        case = row.arm.case
        return case.budget, case.place.seq_len, case.place.dtype, case.arm if case.budget is None else case.variant

    found = list[Speedup]()
    for rows in grouped((variant(row), row) for row in made).values():
        best = min((row.arm for row in rows), key=lambda arm: arm.mean)
        found += [row for row in rows if row.arm is best]
    return sorted(found, key=lambda row: row.arm.check)


def table(loaded: Loaded, made: Sequence[Speedup]) -> Table | None:
    """Return the effective speed-ups in every currency that has a rate or a bound; None where there is none."""
    stated = [row for row in made if row.stated]
    timed = any(row.metric.unit == "s" for row in stated)
    shown = pivot("effective speed-up", ((called(loaded, row.arm), "", row.currency, _cell(row)) for row in stated))
    notes = [DEFINED, seeds_in_words(loaded)]
    notes += ["in seconds it is without a verdict: the machine was not checked"] * (timed and not loaded.checked)
    return replace(shown, notes=notes) if stated else None


def _cell(row: Speedup) -> Value:
    """Return an effective speed-up, and what readers must know before they believe it."""
    doubted = {*labels.LOOKED_AHEAD, *labels.OF_WORK, Label.CONTAMINATED}
    doubts = [*["illustration"] * row.rate.illustration, *(label for label in row.labels if label in doubted)]
    return Sentence("{found} ({doubts})", found=row.found, doubts=", ".join(doubts)) if doubts else row.found


def lacking(loaded: Loaded, made: Sequence[Speedup]) -> Iterator[Sentence]:
    """Say why arms have no effective speed-up in any currency: a sentence for each reason."""
    of_arm = grouped((called(loaded, row.arm), row) for row in made if not row.arm.check)
    none = {arm: rows for arm, rows in of_arm.items() if not any(row.stated for row in rows)}
    for why, arms in grouped(
        (tuple(dict.fromkeys(row.why for row in rows)), arm) for arm, rows in none.items()
    ).items():
        words = "No effective speed-up of {arms}: {why}."
        yield Sentence(words, arms=Listed(arms, last=" and "), why=Listed(why, "; "))
