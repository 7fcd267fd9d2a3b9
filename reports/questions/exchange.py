"""Effective speed-ups: the dense compute that buys an arm's loss, over the arm's own compute, in every currency measured.

A place on the dense ladder comes from losses alone (`harness/stats/exchange.py`). What it costs are FLOPs, seconds, joules or
bytes over the arm's own, where the run measured them. Compute is read at the training length where the grid has it. What is paid
at every step of a training run is multiplied by the steps, which differ where runs have equal budgets of FLOPs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from modbench.harness.core import labels
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case, Comparison, Place
from modbench.harness.domain.notes import TrainNotes
from modbench.harness.stats import effects
from modbench.harness.stats.exchange import FEW_POINTS, NOT_FALLING, Crossing, Rate, crossing, rate
from modbench.harness.stats.reason import Reason
from modbench.reports import reasons
from modbench.reports.model import Estimate, Listed, Sentence, Table, Value
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.cell import Trouble, columns_of, listed_reasons
from modbench.reports.tables.findings import between
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import NATS, in_flops, lengths, unit_of
from modbench.reports.tables.outcomes import PER_TOKEN
from modbench.reports.wording import name, short
from modbench.reports.writers.data import frame

COLUMNS = (
    *("arm", "model", "capacity", "budget", "seq_len", "batch_size", "dtype", "metric", "unit", "loss_metric"),
    *("kind", "effective_speedup", "ci_low", "ci_high", "ci_level", "ratio", "ratio_ci_low", "ratio_ci_high"),
    *("seeds", "launches", "ladder", "status", "reason", "labels"),
)
STRAIGHT = "read between two dense models alone: too high where the dense curve bends"
CHECK = "a check: a dense model against the others of its ladder should give 1"
# What a loss is paid in, and its name in a sentence.
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
NO_RATIO = Estimate(None, kind="ratio")
WHOLE_RUN = "of the whole training run: steps times the cost of one"
# Arms that have a sentence of their own; the rest are counted.
MOST_SENTENCES = 24
DEFINED = "Effective speed-up: the compute of a dense model with the arm's loss, over the arm's own."
HEAD = ("Arm", "In", "Effective speed-up [95 %]", "", "Plain speed-up", "Seeds", "Launches", "Loss")


@dataclass(frozen=True)
class Price:
    """The effective speed-up of one arm in one currency.

    Attributes:
        metric: the currency.
        place: where its compute was measured; None where it was not.
        rate: the effective speed-up; of kind `none` where something was not measured.
        trouble: what was not measured; None: everything was.
        plain: the plain ratio beside it.
        labels: warnings about the loss or the compute.
        reason: what else must be known.
        whole_run: whether it is paid for the whole training run, whose steps differ, not for one step.
    """

    metric: Metric
    place: Place | None
    rate: Rate
    trouble: Trouble | None = None
    plain: Estimate = NO_RATIO
    labels: tuple[Label, ...] = ()
    reason: Value = None
    whole_run: bool = False

    @property
    def speedup(self) -> Estimate:
        """The effective speed-up, or the bound that is known of it."""
        return Estimate.of_interval(self.rate, "ratio", n=self.rate.seeds)

    @property
    def currency(self) -> str:
        """What is paid: `seconds of a train step`; where runs have unequal steps, of the whole run."""
        said = CURRENCIES[self.metric.key]
        return said.replace("a train step", "the training run") if self.whole_run else said


def unpriced(metric: Metric, place: Place | None, trouble: Trouble, reason: Value = None) -> Price:
    """Return what there is of a price where something was not measured."""
    return Price(metric, place, Rate("none", reason=Reason("said", said=trouble.reason)), trouble, reason=reason)


@dataclass(frozen=True)
class Exchange:
    """The effective speed-ups of one arm.

    Attributes:
        case: the arm, as trained.
        ladder: the dense models that its loss was held against, smallest first.
        loss: key of the loss.
        place: where on the ladder its loss lies; None where it has no loss.
        prices: by currency, in the order of `CURRENCIES`.
        reason: what else must be known of each.
        check: whether the arm is itself a dense model of the ladder.
        at: the training length, where the run has several.
        means: mean loss of each model of the ladder, in `unit`.
        mean: mean loss of the arm.
        unit: bits per byte, or nats per token where they cannot be converted.
    """

    case: Case
    ladder: tuple[Case, ...]
    loss: str
    place: Crossing | None
    prices: tuple[Price, ...] = ()
    reason: Value = None
    check: bool = False
    at: int | None = None
    means: tuple[float, ...] = ()
    mean: float | None = None
    unit: str = NATS

    @property
    def where(self) -> Value:
        """The training length after a name, where the run has several: ` at T = 512`."""
        return Sentence(" at T = {at}", at=self.at) if self.at else ""

    @property
    def same(self) -> Case | None:
        """The dense model of the arm's shape."""
        sized = self.case.budget is not None
        return next((c for c in self.ladder if (c.size == self.case.size if sized else not c.rung)), None)

    @property
    def stated(self) -> list[Price]:
        """Prices with a rate or a bound."""
        return [price for price in self.prices if price.rate.kind != "none"]


def exchanges(loaded: Loaded) -> list[Exchange]:
    """Return the effective speed-ups of every arm that was trained beside a dense ladder, and the checks on the ladder itself."""
    several = len(lengths(loaded)) > 1
    maker = _Maker(loaded)
    made = [each for group in _groups(loaded) for each in maker.of_group(*group)]
    return [replace(each, at=each.case.place.seq_len) for each in made] if several else made


def _groups(loaded: Loaded) -> Iterator[tuple[Sequence[str], Sequence[Case], Sequence[Case]]]:
    """Yield training runs of one length, one number format and one budget: the losses asked for, dense models, all others."""
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
        if len(dense) > 1:
            asked = [key for key in PER_TOKEN if any(key in comparison.metrics for comparison in comparisons)]
            yield asked, dense, [case for case in cases if case not in dense]


@dataclass(frozen=True)
class _Maker:
    """Makes effective speed-ups of a run."""

    loaded: Loaded

    def of_group(self, losses: Sequence[str], models: Sequence[Case], arms: Sequence[Case]) -> Iterator[Exchange]:
        """Yield the effective speed-ups of every arm, and of every dense model that lies between two others."""
        dense = sorted(models, key=self._size)
        for case in arms:
            yield self._exchange(losses, case, dense)
        if dense[0].budget is None:  # a curve at one budget turns, and is not straight between points far apart
            for case in dense[1:-1]:
                yield self._exchange(losses, case, [other for other in dense if other != case], check=True)

    def _size(self, case: Case) -> float:
        """Forward FLOPs with causal attention, which order the ladder; 0 where they were not counted."""
        return float(self.loaded.tables.counted(case).forward_causal or 0.0)

    def _exchange(self, losses: Sequence[str], case: Case, dense: Sequence[Case], *, check: bool = False) -> Exchange:
        """Make the effective speed-ups of one arm, by the first loss that it and two dense models have."""
        troubles = []
        for key in losses:
            own = self._losses(case, key)
            known = {c: each for c in dense if self._size(c) and not isinstance(each := self._losses(c, key), Trouble)}
            if isinstance(own, Trouble):
                troubles.append(own)
            elif len(known) < 2:
                troubles.append(Trouble("skipped", f"fewer than two dense models have {key}"))
            elif (
                len({(notes.corpus_sha256, notes.tokenizer) for c in (case, *known) for notes in self._notes(c, key)})
                > 1
            ):
                troubles.append(Trouble("skipped", "the arm and the dense models read different text, or other tokens"))
            else:
                place = crossing(list(known.values()), own, turns=case.budget is not None)
                left_out = [f"left out of the ladder, without {key}: {c.arm}" for c in dense if c not in known]
                reason = listed_reasons(
                    [CHECK if check else None, STRAIGHT if len(known) == 2 and not check else None, *left_out]
                )
                unit, factor = unit_of(self.loaded)
                mean, *means = (factor * sum(each) / len(each) for each in (own, *known.values()))
                held = Exchange(case, tuple(known), key, place, (), reason, check, None, tuple(means), mean, unit)
                return replace(held, prices=tuple(self._prices(held)))
        found = next((each for each in troubles if each.status == "failed"), troubles[-1])
        none = tuple(unpriced(metric, None, found) for metric in self._currencies())
        return Exchange(case, tuple(dense), losses[-1], None, none, check=check)

    def _losses(self, case: Case, key: str) -> list[float] | Trouble:
        """Losses by seed, in the order of the suite's seeds; or why there are none."""
        tables = self.loaded.tables
        trouble = tables.trouble(case, tables.metrics[key])
        if trouble is not None:
            return trouble
        values = tables.cell(case.id, key).values()
        return [values[seed] for seed in self.loaded.suite.seeds]

    def _notes(self, case: Case, key: str) -> list[TrainNotes]:
        return self.loaded.tables.cell(case.id, key).notes(TrainNotes)[:1]

    @functools.cached_property
    def _steps(self) -> dict[str, int]:
        """Optimizer steps of each trained case."""
        runs = ((unit.comparison.arms[0].id, unit.protocol.train) for unit in self.loaded.runs)
        return {case: run.steps for case, run in runs if run is not None}

    def _currencies(self) -> list[Metric]:
        """The currencies that the suite asked for."""
        asked = self.loaded.suite.metrics
        return [self.loaded.tables.metrics[key] for key in CURRENCIES if key in asked]

    def _prices(self, held: Exchange) -> Iterator[Price]:
        """Yield the arm's effective speed-up in every currency."""
        for metric in self._currencies():
            where = self._measured(metric, held)
            if where is None:
                said = f"{metric.key} was not measured for the arm and its dense ladder side by side"
                yield unpriced(metric, None, Trouble("skipped", said), held.reason)
            else:
                yield self._price(metric, held, where)

    def _price(self, metric: Metric, held: Exchange, where: Comparison) -> Price:
        tables, case = self.loaded.tables, held.case
        assert held.place is not None, "it has a loss"
        at = {each.arm: each for each in where.arms}
        sides = [at[each.arm] for each in (case, *held.ladder)]
        reasons: list[Value] = [held.reason, _elsewhere(where.place, case.place)]
        for side in sides:
            trouble = tables.trouble(side, metric)
            if trouble is None and not self._counted(metric):
                trouble = tables.anchor_trouble(side, metric)
            if trouble is not None:
                said = trouble.reason if side is sides[0] else f"{side.arm}: {trouble.reason}"
                return unpriced(metric, where.place, trouble._replace(reason=said), listed_reasons(reasons))
        steps = self._steps_over(metric, held)
        if any(steps):
            reasons.append(WHOLE_RUN)
        made = rate(held.place, self._costs(metric, sides, steps), counted=self._counted(metric))
        made = made if self.loaded.suite.claims else _illustrated(made)
        plain, contaminated = self._beside(metric, where, held)
        warned = [*tables.row_labels(case, tables.metrics[held.loss]), *tables.row_labels(sides[0], metric)]
        warned += [*pair_verdicts.machine_labels(tables, sides[0], metric), *[Label.CONTAMINATED] * contaminated]
        return Price(
            metric, where.place, made, None, plain, tuple(dict.fromkeys(warned)), listed_reasons(reasons), any(steps)
        )

    def _measured(self, metric: Metric, held: Exchange) -> Comparison | None:
        """Where all were measured: at the training length, else the longest; at the batch size of training if it can be."""
        trained, sides = held.case.place, {case.arm for case in (held.case, *held.ladder)}

        def far(comparison: Comparison) -> tuple[bool, int, bool, bool]:
            place = comparison.place
            other = place.batch_size != trained.batch_size, place.execution != trained.execution
            return place.seq_len != trained.seq_len, -place.seq_len, *other

        found = [
            each
            for each in self.loaded.plan.comparisons
            if metric.key in each.metrics and each.place.dtype == trained.dtype and sides <= {c.arm for c in each.arms}
        ]
        return min(found, key=far, default=None)

    def _counted(self, metric: Metric) -> bool:
        return self.loaded.tables.made_in(metric).samples != "launches"

    def _steps_over(self, metric: Metric, held: Exchange) -> list[float]:
        """Log of each dense model's steps over the arm's, for what is paid at every step of a training run; else 0."""
        if metric.workload != "train_step" or metric.unit == "B":
            return [0.0] * len(held.ladder)
        return [math.log(self._steps[rung.id] / self._steps[held.case.id]) for rung in held.ladder]

    def _costs(self, metric: Metric, sides: Sequence[Case], steps: Sequence[float]) -> list[list[float]]:
        """Log of each dense model's compute over the arm's (the first of `sides`), by launch."""
        if self._counted(metric):
            own, *others = (self.loaded.tables.estimate(side, metric).value for side in sides)
            return [[math.log(each / own) + more] for each, more in zip(others, steps, strict=True)]
        launches = [self._launches(metric, side) for side in sides]
        shared = [number for number in launches[0] if all(number in each for each in launches)]
        mine, *theirs = ([each[number] for number in shared] for each in launches)
        return [
            [dense - arm + more for arm, dense in zip(mine, each, strict=True)]
            for each, more in zip(theirs, steps, strict=True)
        ]

    def _launches(self, metric: Metric, case: Case) -> dict[int, float]:
        """Log of an arm's time over its anchor's, by launch."""
        tables, column = self.loaded.tables, self.loaded.tables.made_in(metric).column
        found = {number: each.by(column).medians for number, each in tables.processes(case, metric).items()}
        return {number: each[case.id] for number, each in found.items() if case.id in each}

    def _beside(self, metric: Metric, where: Comparison, held: Exchange) -> tuple[Estimate, bool]:
        """The plain ratio to the dense model of the same shape, and whether a pair with the ladder is contaminated."""
        plain, contaminated, here = NO_RATIO, False, {each.id for each in where.arms}
        for rung in held.ladder:
            for found in between(self.loaded, metric.key, held.case, rung):
                if found.case.id in here and found.status == "ok":
                    contaminated = contaminated or not {Label.CONTAMINATED, Label.BY_CPU}.isdisjoint(found.labels)
                    plain = found.typical if rung == held.same and found.typical.kind == "ratio" else plain
        return plain, contaminated


def _elsewhere(place: Place, trained: Place) -> Sentence | None:
    if place.seq_len == trained.seq_len:
        return None
    words = "compute at T = {here}; nothing was measured at the training length, {trained}"
    return Sentence(words, here=place.seq_len, trained=trained.seq_len)


def _illustrated(made: Rate) -> Rate:
    """A rate of a run that claims nothing: without its interval."""
    if made.kind == "none":
        return made
    made = replace(made, illustration=True, reason=Reason("smoke"))
    return replace(made, low=None, high=None) if made.kind == "rate" else made


# --- exchange.csv


def table(loaded: Loaded, made: Sequence[Exchange] | None = None) -> pd.DataFrame:
    """Return `exchange.csv`: one row per arm, budget, number format and currency; empty without losses or a dense ladder."""
    rows = (_row(each, price) for each in (exchanges(loaded) if made is None else made) for price in each.prices)
    return frame(rows, COLUMNS, whole=("seeds", "launches"))


def _row(made: Exchange, price: Price) -> dict[str, Any]:
    case, place, found = made.case, price.place, price.rate
    row: dict[str, Any] = {
        "arm": case.arm,
        "model": case.model,
        "capacity": case.config.capacity,
        "budget": case.budget,
        "seq_len": place.seq_len if place else None,
        "batch_size": place.batch_size if place else None,
        "dtype": case.place.dtype,
        "metric": price.metric.key,
        "unit": price.metric.unit,
        "loss_metric": made.loss,
        "ladder": " ".join(rung.arm for rung in made.ladder),
        **columns_of(price.plain, "ratio", "ratio_"),
        "labels": labels.joined(price.labels),
    }
    if price.trouble is not None:
        return row | {"status": price.trouble.status, "reason": listed_reasons([price.trouble.reason, price.reason])}
    told = {"kind": found.kind, "seeds": found.seeds, "launches": found.launches or None}
    if found.kind == "none":
        said = Sentence("no effective speed-up at this budget: {why}", why=reasons.sentence(found.reason))
        reason = listed_reasons([said, price.reason])
        return row | told | {"status": "skipped", "reason": reason}
    why = reasons.sentence(found.reason)
    illustration = Sentence("illustration, no claim: {why}", why=why) if found.illustration else None
    closed = not found.illustration and (found.low is not None or found.high is not None)
    return (
        row
        | told
        | {
            **columns_of(found, "effective_speedup"),
            "ci_level": effects.LEVEL if closed else None,
            "status": "ok",
            "reason": listed_reasons([illustration, price.reason]),
        }
    )


# --- in sentences and a table


def sentences(loaded: Loaded, made: Sequence[Exchange] | None = None) -> list[Sentence]:
    """Return the effective speed-ups in sentences; empty where nothing was trained beside a dense ladder.

    Of a sweep over sizes each variant is there with the size of the lowest loss.
    """
    made = exchanges(loaded) if made is None else made
    arms, checks = arms_and_checks(made)
    said = [sentence(each) for each in arms[:MOST_SENTENCES]]
    if arms:
        said.append(Sentence(DEFINED))
    if len(arms) > MOST_SENTENCES:
        said.append(Sentence("Those of {more} further arms are in exchange.csv.", more=len(arms) - MOST_SENTENCES))
    said += without_rate(made)
    said += [_check(each) for each in checks if arms and not each.stated[0].rate.illustration]
    if any(price.metric.unit == "s" for each in arms for price in each.stated) and not loaded.checked:
        said.append(Sentence("Effective speed-ups in seconds are without a verdict: the machine was not checked."))
    return said


def in_brief(loaded: Loaded) -> Iterator[Sentence]:
    """Yield those of a sweep where there is little room: effective speed-ups from too few seeds are counted."""
    if not loaded.sizes_differ or loaded.suite.trend is not None:
        return  # what a trend says is not of the sizes that were explored
    told, few = list[Exchange](), 0
    for each in best_sizes(exchanges(loaded)):
        if not each.stated or not each.stated[0].rate.illustration:
            told.append(each)
        elif not each.check:
            few += 1
    yield from sentences(loaded, told)
    if few:
        yield Sentence("exchange.csv has {few:effective speed-up}, from too few seeds to claim anything.", few=few)


def without_rate(made: Sequence[Exchange]) -> list[Sentence]:
    """Say why arms have no effective speed-up in any currency: a sentence for each reason."""
    arms = [each for each in best_sizes(made) if not each.check]
    said = []
    for reason, those in grouped((why_not(each), each) for each in arms if not each.stated).items():
        budgets = [in_flops(budget) for budget in sorted({each.case.budget for each in those if each.case.budget})]
        trained = sorted({each.at for each in those if each.at})
        where = Listed([Sentence("T = {at}", at=at) for at in trained], last=" and ")
        words = "No effective speed-up" + " at {where}" * bool(trained) + " for {arms}" * (len(those) < len(arms))
        words += " at {budgets}: {reason}." if budgets else " at this budget: {reason}."
        names = Listed([*dict.fromkeys(name(each.case) for each in those)], last=" and ")
        said.append(Sentence(words, where=where, arms=names, budgets=Listed(budgets, " and "), reason=reason))
    return said


def best_sizes(made: Iterable[Exchange]) -> list[Exchange]:
    """Of every variant of a sweep the size with the lowest mean loss; every other arm."""
    by_variant = grouped((_variant(each), each) for each in made)
    return [min(sizes, key=lambda each: math.inf if each.mean is None else each.mean) for sizes in by_variant.values()]


def _variant(each: Exchange) -> tuple[object, ...]:
    """What the sizes of a variant have in common; outside of a sweep each arm is one."""
    case = each.case
    return case.budget, case.place.seq_len, case.place.dtype, case.arm if case.budget is None else case.variant


def arms_and_checks(made: Iterable[Exchange]) -> tuple[list[Exchange], list[Exchange]]:
    """Return those of these sizes that have a rate or a bound: of arms, and the checks on the ladder."""
    stated = [each for each in best_sizes(made) if each.stated]
    return [each for each in stated if not each.check], [each for each in stated if each.check]


def sentence(each: Exchange) -> Sentence:
    """Say it of an arm: `Effective speed-up of MoD 0.125: 1.08× [1.02–1.15] in training FLOPs, … (5 seeds).`."""
    first = each.stated[0].rate
    outside = first.kind != "rate"
    better = first.kind == "bound_below"
    side = "below the best" if better else "above the smallest"
    return Sentence(
        "Effective speed-up of {arm}{where}"
        + " at {budget}" * bool(each.case.budget)
        + ": {rates} ({seeds})"
        + f"; it ends {side} dense model measured, {{mean}} against {{dense}} {{unit}}" * outside
        + " (but: {doubts})" * bool(doubts := _doubts(each))
        + ".",
        arm=each.case,
        where=each.where,
        budget=in_flops(each.case.budget) if each.case.budget else "",
        rates=Listed([_priced(price, first) for price in each.stated]),
        seeds=_illustrates(first) if first.illustration else _seeds(first.seeds),
        mean=Estimate(each.mean, kind="loss"),
        dense=Estimate((min if better else max)(each.means, default=None), kind="loss"),
        unit=each.unit,
        doubts=", ".join(doubts),
    )


def _priced(price: Price, first: Rate) -> Sentence:
    """Return a rate with its currency, and what the first currency has not said of its evidence."""
    apart = price.rate.illustration and not first.illustration
    words = "{rate} in {currency}" + " ({illustrates})" * apart
    illustrates = _illustrates(price.rate) if apart else ""
    return Sentence(words, rate=price.speedup, currency=price.currency, illustrates=illustrates)


def _seeds(number: int) -> Sentence:
    return Sentence("{n:seed}", n=number)


def _illustrates(found: Rate) -> Sentence:
    """`1 seed: illustration, no claim`."""
    by_seeds = found.reason is not None and found.reason.code == "few_seeds"
    few = "{n:seed}" if by_seeds else "{n:launch|launches}"
    return Sentence(f"{few}: illustration, no claim", n=found.seeds if by_seeds else found.launches)


def _doubts(each: Exchange) -> list[Label]:
    """What readers must know before they believe it: a loss that saw the future, a time that is in doubt."""
    found = dict.fromkeys(label for price in each.stated for label in price.labels)
    return [label for label in found if label in {*labels.LOOKED_AHEAD, *labels.OF_WORK, Label.CONTAMINATED}]


def why_not(each: Exchange) -> Value:
    """Why an arm has no effective speed-up in any currency."""
    failed = any(price.trouble is not None and price.trouble.status == "failed" for price in each.prices)
    if each.place is None:
        none = next((reasons.sentence(price.rate.reason) for price in each.prices), "no compute was asked for")
        return "its training failed" if failed else none
    if each.place.reason == NOT_FALLING:
        return Sentence("dense with more FLOPs has no lower loss here ({ladder})", ladder=_ladder(each))
    if each.place.reason == FEW_POINTS:
        return reasons.sentence(FEW_POINTS)
    by_reason = grouped((reasons.sentence(price.rate.reason), price.currency) for price in each.prices)
    if len(by_reason) < 2:
        return next(iter(by_reason), "no compute was asked for")
    said = [
        Sentence("in {currencies}: {reason}", currencies=Listed([*dict.fromkeys(paid)], last=" and "), reason=reason)
        for reason, paid in by_reason.items()
    ]
    return Sentence("{reasons}", reasons=Listed(said, "; "))


def _ladder(each: Exchange) -> Sentence:
    """Losses along the ladder: `2.41 bits/byte in dense 56 %, 2.43 in dense; 1 seed`."""
    assert each.place is not None
    said = [
        Sentence(
            "{mean}" + " {unit}" * (i == 0) + " in {rung}", mean=Estimate(mean, kind="loss"), unit=each.unit, rung=rung
        )
        for i, (rung, mean) in enumerate(zip(map(short, each.ladder), each.means, strict=True))
    ]
    return Sentence("{losses}; {seeds}", losses=Listed(said), seeds=_seeds(each.place.n))


def _check(each: Exchange) -> Sentence:
    words = "Check of the dense ladder{where}: {arm} against the others has {rate} in {currency}, should be 1."
    first = each.stated[0]
    return Sentence(words, where=each.where, arm=short(each.case), rate=first.speedup, currency=first.currency)


def called(each: Exchange) -> Sentence:
    """Name an arm in a figure or a table."""
    return Sentence("{arm}{where}" + " (check)" * each.check, arm=short(each.case), where=each.where)


def numbers(shown: Sequence[Exchange]) -> Table:
    """Return a row for each arm and currency that has a rate or a bound."""
    rows = [row for each in shown for row in _shown(each)]
    return Table("Effective speed-ups in numbers", HEAD, rows, folded=True)


def _shown(each: Exchange) -> Iterator[Sequence[Value]]:
    for price in each.stated:
        found = price.rate
        yield (
            called(each),
            price.currency,
            price.speedup,
            "illustration" if found.illustration else "",
            price.plain.alone,
            found.seeds,
            found.launches or "counted",
            each.loss,
        )
