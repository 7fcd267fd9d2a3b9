"""What a place on the dense ladder costs: its FLOPs, seconds, joules or bytes over the arm's own, where the run measured them.

Compute is read at the training length where the grid has it. What is paid at every step of a training run is multiplied by the
steps, which differ where runs have equal budgets of FLOPs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from modbench.harness.core.case import Case, Comparison, Place
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.labels import Label
from modbench.harness.stats import effects
from modbench.harness.stats.exchange import Crossing, Rate, rate
from modbench.reports.tables import withheld
from modbench.reports.tables.cases import joined
from modbench.reports.tables.cell import Trouble
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.words import is_number

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
WHOLE_RUN = "of the whole training run: steps times the cost of one"


@dataclass(frozen=True)
class Plain:
    """The plain ratio of an arm to the dense model of its shape: above 1 the arm is cheaper."""

    ratio: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Price:
    """The exchange rate of one arm in one currency.

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
    plain: Plain = Plain()
    labels: tuple[Label, ...] = ()
    reason: str | None = None
    whole_run: bool = False


def unpriced(metric: Metric, place: Place | None, trouble: Trouble, reason: str | None = None) -> Price:
    """Return what there is of a price where something was not measured."""
    return Price(metric, place, Rate("none", reason=trouble.reason), trouble, reason=reason)


@dataclass(frozen=True)
class Held:
    """An arm held against a dense ladder by its loss.

    Attributes:
        case: the arm, as trained.
        ladder: the dense models, smallest first, as trained.
        loss: key of the loss.
        place: where on the ladder its loss lies.
        same: the dense model of the arm's shape.
        reason: what else must be known.
    """

    case: Case
    ladder: tuple[Case, ...]
    loss: str
    place: Crossing
    same: Case | None
    reason: str | None


@dataclass(frozen=True)
class Prices:
    """Reads prices from a run."""

    loaded: Loaded

    @functools.cached_property
    def steps(self) -> dict[str, int]:
        """Optimizer steps of each trained case."""
        runs = ((unit.comparison.arms[0].id, unit.protocol.train) for unit in self.loaded.runs)
        return {case: run.steps for case, run in runs if run is not None}

    def currencies(self) -> list[Metric]:
        """The currencies that the suite asked for."""
        asked = self.loaded.run.plan.suite.metrics
        return [self.loaded.tables.metrics[key] for key in CURRENCIES if key in asked]

    def of(self, held: Held) -> Iterator[Price]:
        """Yield the arm's exchange rate in every currency."""
        for metric in self.currencies():
            where = self._measured(metric, held)
            if where is None:
                said = f"{metric.key} was not measured for the arm and its dense ladder side by side"
                yield unpriced(metric, None, Trouble("skipped", said), held.reason)
            else:
                yield self._price(metric, held, where)

    def _price(self, metric: Metric, held: Held, where: Comparison) -> Price:
        tables, case = self.loaded.tables, held.case
        at = {each.arm: each for each in where.arms}
        sides = [at[each.arm] for each in (case, *held.ladder)]
        reasons = [held.reason, _elsewhere(where.place, case.place)]
        for side in sides:
            trouble = tables.trouble(side, metric)
            if trouble is None and not self._counted(metric):
                trouble = tables.anchor_trouble(side, metric)
            if trouble is not None:
                said = trouble.reason if side is sides[0] else f"{side.arm}: {trouble.reason}"
                return unpriced(metric, where.place, trouble._replace(reason=said), joined(reasons))
        steps = self._steps_over(metric, held)
        if any(steps):
            reasons.append(WHOLE_RUN)
        made = rate(held.place, self._costs(metric, sides, steps), counted=self._counted(metric))
        made = made if self.loaded.run.plan.suite.claims else _illustrated(made)
        plain, contaminated = self._beside(metric, where, held)
        warned = [*tables.row_labels(case, tables.metrics[held.loss]), *tables.row_labels(sides[0], metric)]
        warned += [*withheld.machine_labels(tables, sides[0], metric), *[Label.CONTAMINATED] * contaminated]
        return Price(metric, where.place, made, None, plain, tuple(dict.fromkeys(warned)), joined(reasons), any(steps))

    def _measured(self, metric: Metric, held: Held) -> Comparison | None:
        """Where all were measured: at the training length, else the longest; at the batch size of training if it can be."""
        trained, sides = held.case.place, {case.arm for case in (held.case, *held.ladder)}

        def far(comparison: Comparison) -> tuple[bool, int, bool, bool]:
            place = comparison.place
            other = place.batch_size != trained.batch_size, place.execution != trained.execution
            return place.seq_len != trained.seq_len, -place.seq_len, *other

        found = [
            each
            for each in self.loaded.run.plan.comparisons
            if metric.key in each.metrics and each.place.dtype == trained.dtype and sides <= {c.arm for c in each.arms}
        ]
        return min(found, key=far, default=None)

    def _counted(self, metric: Metric) -> bool:
        return self.loaded.tables.made_in(metric).samples != "launches"

    def _steps_over(self, metric: Metric, held: Held) -> list[float]:
        """Log of each dense model's steps over the arm's, for what is paid at every step of a training run; else 0."""
        if metric.workload != "train_step" or metric.unit == "B":
            return [0.0] * len(held.ladder)
        return [math.log(self.steps[rung.id] / self.steps[held.case.id]) for rung in held.ladder]

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
        anchor = tables.anchor(case, metric)
        mine, theirs = (tables.cell(side.id, metric.key).good() for side in (case, anchor))
        if case == anchor:
            return dict.fromkeys(mine, 0.0)
        found = {
            number: effects.pair_in_launch(outcome.samples, None, theirs[number].samples, column)
            for number, outcome in mine.items()
            if number in theirs
        }
        return {number: launch.effect for number, launch in found.items() if launch is not None}

    def _beside(self, metric: Metric, where: Comparison, held: Held) -> tuple[Plain, bool]:
        """The plain ratio to the dense model of the same shape, and whether a pair with the ladder is contaminated."""
        plain, contaminated, here = Plain(), False, {each.id for each in where.arms}
        for rung in held.ladder:
            for row in self.loaded.between(metric.key, held.case.arm, rung.arm):
                if row.case_id not in here or row.status != "ok":
                    continue
                contaminated = contaminated or row.verdict == "contaminated"
                if rung == held.same and is_number(row.ratio):
                    ends = [float(end) if is_number(end) else None for end in (row.ci_low, row.ci_high)]
                    found = Plain(float(row.ratio), *ends)
                    plain = found if row.arm == held.case.arm else _mirrored(found)
        return plain, contaminated


def _mirrored(plain: Plain) -> Plain:
    ratio, low, high = (None if each is None else 1 / each for each in (plain.ratio, plain.high, plain.low))
    return Plain(ratio, low, high)


def _elsewhere(place: Place, trained: Place) -> str | None:
    if place.seq_len == trained.seq_len:
        return None
    return f"compute at T = {place.seq_len:,}; nothing was measured at the training length, {trained.seq_len:,}"


def _illustrated(made: Rate) -> Rate:
    """A rate of a run that claims nothing: without its interval."""
    if made.kind == "none":
        return made
    made = replace(made, illustration=True, reason="smoke effort: no claims")
    return replace(made, low=None, high=None) if made.kind == "rate" else made
