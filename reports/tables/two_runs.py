"""Two stored runs, read once for `compare` and `gate`: every case and metric of either as a contrast, or why there is none.

Counts are compared as they are. Losses and accuracies are compared seed by seed, and judged as one family. A time is compared as
a ratio to the suite's baseline of its own run; it has an effect, but no verdict, since the processes of two runs took no turns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, NamedTuple

from modbench.harness.core import model_specs
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.immutable import Frozen
from modbench.harness.core.labels import LOOKED_AHEAD, OF_PRECISION, Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import FitNotes, TimeNotes, TrainNotes
from modbench.harness.registry import catalogue
from modbench.harness.stats import effects
from modbench.harness.stats.effects import LEVEL
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import (
    BETTER,
    EQUIVALENT,
    FAIL,
    INCONCLUSIVE,
    PASS,
    WORSE,
    ByClock,
    Contrast,
    Rule,
    Seen,
    Side,
    contrast,
    counted,
    together,
)
from modbench.reports import reasons
from modbench.reports.blocks import Estimate, Sentence, Value
from modbench.reports.tables import provenance
from modbench.reports.tables.cell import Trouble
from modbench.reports.tables.claims import SMOKE
from modbench.reports.tables.values import Tables

# Settings of training that change no result: when it is observed, and what is kept.
NO_EFFECT = {"looks", "watch", "flips", "checkpoint_s"}
# Failures that say nothing about the code: what was measured is not known.
UNKNOWN = {"not_steady", "damaged"}
# In place of a verdict.
NOT_COMPARED, NOT_ALTERNATED, NEW, MISSING = "not compared", str(Label.NOT_ALTERNATED), "new", "missing"


class Lack(NamedTuple):
    """What is said where there is no contrast.

    Attributes:
        verdict: by a comparison.
        held: by a gate, which fails on what the new run alone cannot do, and passes nothing that it should have measured.
    """

    verdict: str
    held: str

    @property
    def unjudged(self) -> Lack:
        """The same of what is never judged: it leaves nothing open."""
        return Lack(*(NOT_COMPARED if word == INCONCLUSIVE else word for word in self))


# The new run fails at what the base did, or does what the base failed at.
FAILS, MENDED = Lack(WORSE, FAIL), Lack(BETTER, NOT_COMPARED)
ADDED, GONE, SOLVED_ANEW = Lack(NEW, NOT_COMPARED), Lack(MISSING, INCONCLUSIVE), Lack(MISSING, NOT_COMPARED)
# Evidence is missing. The new run did not measure it, or not the same. There is nothing to compare.
OPEN, UNMEASURED = Lack(INCONCLUSIVE, INCONCLUSIVE), Lack(NOT_COMPARED, INCONCLUSIVE)
NOTHING = UNMEASURED.unjudged
# Reasons.
NO_CASE, NOT_ASKED = "the new run has no such case", "the new run did not request it"
NEW_CASE, NEWLY_ASKED = "new: the earlier run has no such case", "new: the earlier run did not request it"
THREE = "an interval needs three processes in each run"
ELSEWHERE = "the baseline's own time: the runs were timed on different machines, or do not say on which"
# Labels that say nothing of what a change of the code did to a case.
NO_CHANGE = OF_PRECISION | {Label.FASTER}


@dataclass(frozen=True)
class Pair:
    """One case and metric of two runs.

    Attributes:
        case: as the base has it, where that has it.
        metric: what was measured.
        contrast: how the new run compares with its base; None where they do not.
        lack: what is said then.
        reason: why there is no contrast or no ratio, or what made a time noisy; None: there is nothing to say.
        scale: of a loss what a margin is a share of: the base's mean.
    """

    case: Case
    metric: Metric
    contrast: Contrast | None = None
    lack: Lack | None = None
    reason: Value = None
    scale: float = 1.0

    @property
    def is_time(self) -> bool:
        """Whether it is a time that both runs have, which has an effect and no verdict."""
        return self.contrast is not None and self.contrast.rule.kind == "time"

    @property
    def verdict(self) -> str:
        """Of the engine, or what stands in place of it."""
        if self.lack is not None:
            return self.lack.verdict
        return NOT_ALTERNATED if self.is_time else (self.contrast and self.contrast.verdict) or INCONCLUSIVE

    @property
    def why(self) -> Value:
        """Why the verdict was withheld, or what would decide an open one; else the pair's own reason."""
        if self.contrast is None or self.is_time:
            return self.reason
        return reasons.sentence(self.contrast.reason or self.contrast.open) or self.reason

    @property
    def is_difference(self) -> bool:
        """Whether the change is a difference, as of a loss, not a ratio."""
        return self.metric.scored_as == "difference" and catalogue.pass_of(self.metric).samples == "seeds"

    def change(self, level: float = LEVEL) -> Estimate:
        """Return the ratio, above 1 better, or the difference of a loss, with its interval of 95 or 90 %."""
        if self.contrast is None or not math.isfinite(self.contrast.effect.value):
            return Estimate(None)
        effect = self.contrast.effect
        low, high = (effect.low, effect.high) if level == LEVEL else (effect.low90, effect.high90)
        if self.is_difference:
            return Estimate(effect.value, low, high, "difference", "nat", level=level)
        low, high = (None if end is None else math.exp(end) for end in (low, high))
        return Estimate(math.exp(effect.value), low, high, "ratio", self.metric.unit, level=level)


@dataclass(frozen=True)
class Labels:
    """The labels that a case has in one of two runs alone.

    Attributes:
        case: its id.
        base: in the base alone.
        new: in the new run alone.
        lack: what is said where they cannot be compared.
        reason: why not.
    """

    case: str
    base: frozenset[Label] = frozenset()
    new: frozenset[Label] = frozenset()
    lack: Lack | None = None
    reason: str | None = None


Key = tuple[str, str]
Planned = dict[Key, tuple[Case, Metric]]


@dataclass(frozen=True)
class TwoRuns:
    """A base and a new run, and the largest change that does not matter, as a share."""

    base: Tables
    new: Tables
    margin: float

    @property
    def sides(self) -> tuple[Tables, Tables]:
        """The base, then the new run."""
        return self.base, self.new

    @functools.cached_property
    def same_machine(self) -> bool:
        """Whether both were timed on one machine, by its fingerprint."""
        machines = {node.machine for tables in self.sides for node in provenance.timed_on(tables.run)}
        return len(machines) == 1 and None not in machines

    @functools.cached_property
    def planned(self) -> tuple[Planned, Planned]:
        """What each run was asked for: cases and metrics by case id and metric key."""
        base, new = (
            {(case.id, metric.key): (case, metric) for _, metric, case in tables.asked()} for tables in self.sides
        )
        return base, new

    def pairs(self) -> list[Pair]:
        """Return every case and metric of either run, those of the base first; losses are judged as one family."""
        base, new = self.planned
        found = [self._pair(base.get(key), new.get(key)) for key in {**base, **new}]
        losses = {
            i: pair.contrast for i, pair in enumerate(found) if pair.contrast and pair.contrast.rule.kind == "loss"
        }
        for i, judged in zip(losses, together([*losses.values()]), strict=True):
            found[i] = replace(found[i], contrast=judged)
        return found

    def _pair(self, base: tuple[Case, Metric] | None, new: tuple[Case, Metric] | None) -> Pair:
        if new is None:
            assert base is not None, "one of the two was asked for it"
            old, metric = base
            found = (GONE, NOT_ASKED) if any(case.id == old.id for case in self.new.plan.cases) else self._gone(old)
            return self._without(old, metric, *found)
        case, metric = new
        if base is None:
            known = any(old.id == case.id for old in self.base.plan.cases)
            return self._without(case, metric, ADDED, NEWLY_ASKED if known else NEW_CASE)
        if lacks := next(self._lacks(base[0], case, metric), None):
            return self._without(base[0], metric, *lacks)
        samples = self.new.made_in(metric).samples
        if samples == "processes":
            return self._times(case, metric)
        if samples == "seeds" and metric.scored_as == "difference":
            return self._losses(case, metric)
        return self._exact(case, metric, *(tables.value(case, metric).estimate.value for tables in self.sides))

    def _without(self, case: Case, metric: Metric, lack: Lack, reason: Value) -> Pair:
        """A pair without a contrast."""
        judged = self._nature(metric) is None and self.new.made_in(metric).samples != "processes"
        return Pair(case, metric, lack=lack if judged else lack.unjudged, reason=reason)

    def _gone(self, old: Case) -> tuple[Lack, str]:
        """A case of the base alone. A dense model that was solved anew for the same variant leaves nothing open about code."""
        variants = {(each.target, each.quantity): each.variant for each in self.new.plan.matched_baselines}
        solved = (each for each in self.base.plan.matched_baselines if old.matched and each.variant == old.variant)
        instead = (variants.get((each.target, each.quantity)) for each in solved)
        found = next(filter(None, instead), None)
        return (GONE, NO_CASE) if found is None else (SOLVED_ANEW, f"solved anew: now it is {found}")

    def _nature(self, metric: Metric) -> str | None:
        """Why no two values of this metric are compared; None where they are."""
        made_in = self.new.made_in(metric)
        if not made_in.judged:
            return made_in.no_interval
        if metric.better == "neither":
            return "neither direction is better"
        return "derived from a time, which is compared" if metric.source else None

    def _why_other(self, old: Case, case: Case, metric: Metric) -> str | None:
        """Why the two runs did not measure the same thing; None where they did."""
        if case != old:
            return f"the same id, but another case: {differences(case, old)}"
        then, now = settings(self.base, case, metric), settings(self.new, case, metric)
        if now != then:
            changed = [f"{key} {value}, was {then.get(key)}" for key, value in now.items() if value != then.get(key)]
            return f"measured with other settings: {'; '.join(changed) or 'see the suites'}"
        return None

    def _lacks(self, old: Case, case: Case, metric: Metric) -> Iterator[tuple[Lack, str]]:
        """Yield what keeps two cases from being compared before any number is looked at; the first of it counts.

        What was never measured cannot get worse; what was, or would have been, may have.
        """
        if other := self._why_other(old, case, metric):
            yield UNMEASURED, other
        before, now = (_trouble(tables, case, metric) for tables in self.sides)
        failed_before, fails = (_failed(tables, case, metric) for tables in self.sides)
        if fails and not before:
            yield FAILS, f"fails now: {fails}"
        if failed_before and not now:
            yield MENDED, f"before: {failed_before}"
        if nature := self._nature(metric):
            yield NOTHING, nature
        if said := now or before:
            lost = _lost(self.base, case, metric, before) or _lost(self.new, case, metric, now)
            lack = OPEN if lost else NOTHING if before else UNMEASURED
            yield lack, f"{'now' if now else 'before'}: {said.reason}{' (before as well)' * bool(now and before)}"
        if damaged := self._damaged(old, case, metric):  # the file of the case's checks
            yield OPEN, damaged
        if not (self.new.suite.claims and self.base.suite.claims) and self.new.made_in(metric).samples != "one":
            yield OPEN, SMOKE

    def _damaged(self, old: Case, case: Case, metric: Metric) -> str | None:
        """What is wrong with a file of either run that a number, or a check of the case, should have come from; or None."""
        return self.new.value(case, metric).damaged or self.base.value(old, metric).damaged

    def _flattered(self, case: Case, metric: Metric) -> Seen:
        """What a number's label withholds: it looks better than it is in one of the two runs alone."""
        samples = self.new.made_in(metric).samples
        kind = {Label.LOWER_BOUND} if metric.unit == "FLOP" else LOOKED_AHEAD if samples == "seeds" else set[Label]()
        before, now = (kind & {*tables.value(case, metric).labels} for tables in self.sides)
        if now == before:
            return Seen()
        why = Reason("said", said=other_quantity(now, before))
        if samples != "one":
            return Seen(withheld=why)
        # Of a count it is certain that a lower bound which rose has risen, and that what fell below one has fallen.
        return Seen(unsure=(frozenset({BETTER, EQUIVALENT, PASS} if now - before else {WORSE, EQUIVALENT, FAIL}), why))

    def _times(self, case: Case, metric: Metric) -> Pair:
        """A time. It has no verdict: the interval over processes does not hold how much two runs differ."""
        if why := self._not_alike(case, metric):
            return self._without(case, metric, OPEN, why)
        if self.new.anchor(case, metric) == case and not self.same_machine:
            return self._without(case, metric, OPEN, ELSEWHERE)
        base, new = (ByClock(_log_times(tables, case, metric)) for tables in self.sides)
        if min(len(base.own), len(new.own)) < effects.FEWEST:
            return self._without(case, metric, OPEN, THREE)
        share = max(tables.value(case, metric).noisy for tables in self.sides)
        found = contrast(Side(base), Side(new), "independent", Rule("time", self.margin), Seen(noisy=share))
        busy = Sentence("{share} of the blocks were noisy", share=Estimate(share, kind="share"))
        return Pair(case, metric, found, reason=busy if found.noisy else None)

    def _not_alike(self, case: Case, metric: Metric) -> str | None:
        """Why the two runs timed something else, though the case is the same; None where they did not."""
        if self.new.anchor(case, metric) != self.base.anchor(case, metric):
            return "the two runs have different baselines"
        notes = (tables.notes_of(case, metric.key, TimeNotes) for tables in self.sides)
        before, now = ({each.inputs for each in those} for those in notes)
        labels = {label for tables in self.sides for label in tables.value(case, metric).variant_labels}
        if now != before and (case.is_user_model or Label.INPUT_DEPENDENT in labels):
            numbers = " and ".join("/".join(sorted(map(str, each))) for each in (before, now))
            return f"its cost may depend on the input, and the runs timed it on {numbers} of them: make both with the same rounds"
        return None

    def _losses(self, case: Case, metric: Metric) -> Pair:
        """A loss or an accuracy, seed by seed."""
        notes = (tables.notes_of(case, metric.key, TrainNotes)[:1] for tables in self.sides)
        if len({each.corpus_sha256 for those in notes for each in those}) > 1:
            return self._without(case, metric, OPEN, "trained on different text")
        before, now = (tables.values_of(case, metric.key) for tables in self.sides)
        seeds = sorted(now.keys() & before.keys())
        if not seeds:
            return self._without(case, metric, OPEN, "the two runs have no seed in common")
        if now == before:
            return self._exact(case, metric, 0.0, 0.0)
        base, new = ({seed: values[seed] for seed in seeds} for values in (before, now))
        scale = abs(fmean(base.values()))
        rule, seen = Rule("loss", self.margin * scale, metric.better), self._flattered(case, metric)
        made = contrast(Side(ByClock(base)), Side(ByClock(new)), "interleaved", rule, seen)
        return Pair(case, metric, made, scale=scale)

    def _exact(self, case: Case, metric: Metric, before: float, now: float) -> Pair:
        """Numbers that have no spread, as counts, and what is the same to the last digit."""
        made = counted(before, now, Rule("count", self.margin, metric.better), self._flattered(case, metric))
        then, new = (Estimate(each, kind="count") for each in (before, now))
        no_ratio = now != before and 0 in {now, before}
        reason = Sentence("counted: {then} before, {new} now", then=then, new=new) if no_ratio else None
        return Pair(case, metric, made, reason=reason)

    def labels(self) -> Iterator[Labels]:
        """Yield the labels of every case of the base, over all metrics that both runs measured."""
        here = {case.id: case for case in self.new.plan.cases}
        for old in {case.id: case for case in self.base.plan.cases}.values():
            if old.id in here:
                yield self._labels(old, here[old.id])
            else:
                lack, reason = self._gone(old)
                yield Labels(old.id, lack=lack, reason=reason)

    def _labels(self, old: Case, case: Case) -> Labels:
        base, new = self.planned
        planned = [m for m in self.new.metrics.values() if (case.id, m.key) in base and (case.id, m.key) in new]
        others = {m.key: self._why_other(old, case, m) for m in planned}
        both = [m for m in planned if not others[m.key] and not any(_trouble(t, case, m) for t in self.sides)]
        if not both:
            other = next(filter(None, others.values()), None)
            lack = OPEN if other else NOTHING
            return Labels(case.id, lack=lack, reason=other or "no metric of it was measured in both runs")
        if lost := next(filter(None, (self._damaged(old, case, m) for m in both)), None):
            return Labels(case.id, lack=OPEN, reason=lost)
        labels = [{label for m in both for label in tables.value(case, m).labels} for tables in self.sides]
        # Labels that the findings of a pass bring are new only where the other run has its findings too.
        silent = [tables.unaudited(case) for tables in self.sides]
        before, now = labels[0] - NO_CHANGE - silent[1], labels[1] - NO_CHANGE - silent[0]
        return Labels(case.id, frozenset(before - labels[1]), frozenset(now - labels[0]))


def settings(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    """Return what a value depends on besides the case: `train.tokens` and the like."""
    suite, made_in = tables.suite, tables.made_in(metric)
    decodes = metric.workload == "decode"
    plan: Frozen | None = suite.decode if decodes else made_in.settings(suite, case)
    if made_in.table is not None:
        plan = made_in.table.settled(suite)
    name = "decode" if decodes else made_in.name
    dumped = {} if plan is None else plan.model_dump(exclude=NO_EFFECT)
    found = {f"{name}.{key}": value for key, value in dumped.items()}
    budgets = [notes.memory_limit_bytes for notes in tables.notes_of(case, metric.key, FitNotes)]
    return found | {"memory_limit": next(iter(budgets), None)}


def differences(case: Case, old: Case) -> str:
    """Return how two cases of one id differ: `d_model 64, was 32`."""
    now, before = (
        {**side.config.model_dump(), "model": side.model, "options": model_specs.typed(dict(side.options)) or "none"}
        for side in (case, old)
    )
    return ", ".join(f"{name} {now[name]}, was {before[name]}" for name in now if now[name] != before[name])


def other_quantity(now: AbstractSet[Label], before: AbstractSet[Label]) -> str:
    """Say which labels one of two numbers has with which it looks better than it is, so that they are not compared."""
    fresh, gone = (", ".join(sorted(each)) for each in (now - before, before - now))
    return f"{f'now {fresh}' if fresh else f'before {gone}'}: not the same quantity"


def _log_times(tables: Tables, case: Case, metric: Metric) -> Mapping[int, float]:
    """The logarithm of a time in each process, relative to its baseline's; of the suite's baseline its own."""
    anchor = tables.anchor(case, metric)
    if case != anchor:
        return tables.numbers(metric, case, anchor).new.wall.own
    at = 0 if metric.estimand == "median" else 1
    return {i: both[at] for i, both in enumerate(tables.value(case, metric).log_times(tables.made_in(metric).column))}


def _trouble(tables: Tables, case: Case, metric: Metric) -> Trouble | None:
    """Why a run has no value that can be compared; None where it has one."""
    found = tables.value(case, metric).trouble
    if found is None and (partly := tables.value(case, metric).cell.partly):
        return Trouble("skipped", partly)
    timed = tables.made_in(metric).samples == "processes" and not metric.source
    return found or (tables.anchor_trouble(case, metric) if timed else None)


def _failed(tables: Tables, case: Case, metric: Metric) -> str | None:
    """Why a case failed that says something about its code; None where it did not."""
    found = tables.value(case, metric).trouble
    return found.reason if found and found.status == "failed" and found.kind not in UNKNOWN else None


def _lost(tables: Tables, case: Case, metric: Metric, trouble: Trouble | None) -> bool:
    """Whether it would have been measured but for an unsteady variant, or a unit without a record or with a damaged one."""
    return trouble is not None and (trouble.kind in UNKNOWN or bool(tables.value(case, metric).cell.missing))
