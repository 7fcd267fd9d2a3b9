"""What the gate compares with what: every metric of every case of two runs, or why there is nothing to compare."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from modbench.harness.core import model_specs
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.labels import LOOKED_AHEAD, OF_AUDIT, OF_PRECISION, Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import FitNotes, TimeNotes, TrainNotes
from modbench.harness.stats import contamination, effects
from modbench.harness.stats.effects import Effect
from modbench.reports.model import Estimate, Sentence, Value
from modbench.reports.questions.gate.fail_on import Rules, check_of
from modbench.reports.questions.gate.non_inferiority import (
    ALPHA,
    LABELS,
    NOT_ALTERNATED,
    Change,
    GateFinding,
    ratio,
    unnamed,
    welch,
)
from modbench.reports.tables import provenance
from modbench.reports.tables.cell import Trouble
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import SMOKE

# Settings of training that change no result: when it is observed, and what is kept.
NO_EFFECT = {"looks", "watch", "flips", "checkpoint_s"}


def settings(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    """Return what a value depends on besides the case: `train.tokens` and the like."""
    suite, made_in = tables.suite, tables.made_in(metric)
    decodes = metric.workload == "decode"
    plan: Frozen | None = suite.decode if decodes else made_in.settings(suite, case)
    name = "decode" if decodes else made_in.name
    dumped = {} if plan is None else plan.model_dump(exclude=NO_EFFECT)
    found = {f"{name}.{key}": value for key, value in dumped.items()}
    budgets = [notes.budget_bytes for notes in tables.cell(case.id, metric.key).notes(FitNotes)]
    return found | {"budget": next(iter(budgets), None)}


def same_machine(one: Tables, other: Tables) -> bool:
    """Return whether both runs were timed on one machine, by its fingerprint."""
    machines = {node.machine for tables in (one, other) for node in provenance.timed_on(tables.run)}
    return len(machines) == 1 and None not in machines


def why_other(now: Tables, base: Tables, case: Case, old: Case, metric: Metric) -> str | None:
    """Return why the two runs did not measure the same thing, or None."""
    if case != old:
        return f"the same id, but another case: {differences(case, old)}"
    mine, theirs = (settings(tables, case, metric) for tables in (now, base))
    if mine != theirs:
        changed = [f"{key} {value}, was {theirs.get(key)}" for key, value in mine.items() if value != theirs.get(key)]
        return f"measured with other settings: {'; '.join(changed) or 'see the suites'}"
    return None


def differences(case: Case, old: Case) -> str:
    """Return how two cases of one id differ: `d_model 64, was 32`."""
    now, before = (
        {**side.config.model_dump(), "model": side.model, "options": model_specs.typed(dict(side.options)) or "none"}
        for side in (case, old)
    )
    return ", ".join(f"{name} {now[name]}, was {before[name]}" for name in now if now[name] != before[name])


TELL, COUNT_OUT = "cannot tell", "not compared"
# Reasons.
GONE, NOT_ASKED = "the new run has no such case", "the new run did not request it"
NEW, NEWLY_ASKED = "new: the earlier run has no such case", "new: the earlier run did not request it"
THREE = "an interval needs three launches in each run"
ELSEWHERE = "the anchor's own time: the runs were timed on different machines, or do not say on which"
# Failures that say nothing about the code: what was measured is not known.
UNKNOWN = {"not_steady", "damaged"}


def other_quantity(now: AbstractSet[Label], before: AbstractSet[Label]) -> str:
    """Say which labels one of two numbers has with which it looks better than it is, so that they are not compared."""
    fresh, gone = (", ".join(sorted(each)) for each in (now - before, before - now))
    return f"{f'now {fresh}' if fresh else f'before {gone}'}: not the same quantity"


@dataclass(frozen=True)
class Comparer:
    """Compares two runs."""

    now: Tables
    base: Tables
    rules: Rules

    @functools.cached_property
    def _same_machine(self) -> bool:
        return same_machine(self.now, self.base)

    def findings(self) -> Iterator[GateFinding]:
        """Yield one for each case, metric and check of either run, then one for each case's labels.

        Changes are still to be judged.
        """
        here, there = ({case.id: case for case in tables.plan.cases} for tables in (self.now, self.base))
        yield from self._numbers(here, there)
        for name in dict.fromkeys([*here, *there]):
            if name in there:
                found = self._labels(here[name], there[name]) if name in here else self._gone(there[name])
                yield replace(found, what=name, metric=LABELS, check=LABELS)

    def _numbers(self, here: Mapping[str, Case], there: Mapping[str, Case]) -> Iterator[GateFinding]:
        for _, metric, case in self.now.asked():
            if case.id not in there:
                found = unnamed(COUNT_OUT, NEW)
            elif not _planned(self.base, there[case.id], metric):
                found = unnamed(COUNT_OUT, NEWLY_ASKED)
            else:
                found = self._compare(case, there[case.id], metric)
            yield self._of(found, case, metric)
        for _, metric, case in self.base.asked():
            if case.id not in here or not _planned(self.now, here[case.id], metric):
                found = self._gone(case) if case.id not in here else unnamed(TELL, NOT_ASKED)
                yield self._of(found, case, metric)

    def _of(self, found: GateFinding, case: Case, metric: Metric) -> GateFinding:
        """Name the case and metric of a finding. What is never judged leaves nothing open."""
        judged = self._by_nature(metric) is None and self.now.made_in(metric).samples != "launches"
        word = found.verdict if judged or found.verdict != TELL else COUNT_OUT
        return replace(found, what=case.id, metric=metric.key, check=check_of(metric), verdict=word)

    def _gone(self, old: Case) -> GateFinding:
        """A case of the earlier run alone. A dense model that was solved anew for the same arm leaves nothing open about code."""
        arms = {(each.target, each.quantity): each.arm for each in self.now.plan.ladder}
        ladder = self.base.plan.ladder
        instead = (arms.get((each.target, each.quantity)) for each in ladder if each.arm == old.arm)
        found = next(filter(None, instead), None) if old.rung else None
        return unnamed(TELL, GONE) if found is None else unnamed(COUNT_OUT, f"solved anew: now it is {found}")

    def _compare(self, case: Case, old: Case, metric: Metric) -> GateFinding:
        other = why_other(self.now, self.base, case, old, metric)
        if other:
            return unnamed(TELL, other)
        trouble, earlier = self.now.trouble(case, metric), _trouble(self.base, old, metric)
        if trouble and trouble.status == "failed" and trouble.kind not in UNKNOWN and not earlier:
            return unnamed("worse", f"fails now: {trouble.reason}")
        trouble = _trouble(self.now, case, metric)
        if nature := self._by_nature(metric):
            return unnamed(COUNT_OUT, nature)
        if trouble or earlier:
            return self._not_measured(case, metric, trouble, earlier)
        return self._flattered(case, old, metric, self._measured(case, old, metric))

    def _flattered(self, case: Case, old: Case, metric: Metric, found: GateFinding) -> GateFinding:
        """Withhold a verdict that rests on a number which looks better than it is in one of the runs alone."""
        samples = self.now.made_in(metric).samples
        kind = {Label.LOWER_BOUND} if metric.unit == "FLOP" else LOOKED_AHEAD if samples == "seeds" else set[Label]()
        now, before = (kind & {*t.row_labels(c, metric)} for t, c in ((self.now, case), (self.base, old)))
        # Of a count it is certain that a lower bound which rose has risen, and that what fell below one has fallen.
        unsure = {"pass", "better"} if now - before else {"worse"}
        certain = samples == "one" and found.verdict not in unsure
        if now == before or certain or found.verdict == COUNT_OUT:
            return found
        return replace(found, verdict=TELL, reason=other_quantity(now, before), judged_by=None)

    def _labels(self, case: Case, old: Case) -> GateFinding:
        """Return whether the case has a label that it had not, over all metrics that both runs measured."""
        sides = (self.now, case), (self.base, old)
        planned = [m for m in self.now.metrics.values() if all(_planned(tables, each, m) for tables, each in sides)]
        others = {m.key: why_other(self.now, self.base, case, old, m) for m in planned}
        both = [
            m for m in planned if not others[m.key] and not any(_trouble(tables, each, m) for tables, each in sides)
        ]
        if not both:
            other = next(filter(None, others.values()), None)
            said = other or "no metric of it was measured in both runs"
            return unnamed(TELL if other else COUNT_OUT, said)
        for metric in both:
            if lost := self.now.damaged(case, metric) or self.base.damaged(old, metric):
                return unnamed(TELL, lost)
        now, before = ({label for m in both for label in tables.row_labels(each, m)} for tables, each in sides)
        fresh = now - before - OF_PRECISION - {Label.FASTER}
        fresh -= frozenset() if self.base.audit(old) else OF_AUDIT
        if fresh:
            return unnamed("worse", f"now {', '.join(sorted(fresh))}")
        return unnamed("pass", "no label that it had not")

    def _by_nature(self, metric: Metric) -> str | None:
        """Return why no two values of this metric are compared, or None."""
        made_in = self.now.made_in(metric)
        if not made_in.judged:
            return made_in.no_interval
        if metric.better == "neither":
            return "neither direction is better"
        return "derived from a time, which is compared" if metric.source else None

    def _not_measured(
        self, case: Case, metric: Metric, trouble: Trouble | None, earlier: Trouble | None
    ) -> GateFinding:
        """What was never measured cannot get worse; what was, or would have been, may have."""
        lost = [_lost(self.now, case, metric, trouble), _lost(self.base, case, metric, earlier)]
        word = COUNT_OUT if earlier and not any(lost) else TELL
        which, said = ("now", trouble) if trouble else ("before", earlier)
        assert said is not None
        both = " (before as well)" if trouble and earlier else ""
        return unnamed(word, f"{which}: {said.reason}{both}")

    def _measured(self, case: Case, old: Case, metric: Metric) -> GateFinding:
        if damaged := self.now.damaged(case, metric) or self.base.damaged(old, metric):  # the file of the case's checks
            return unnamed(TELL, damaged)
        if elsewhere := self.rules.elsewhere(metric, same=self._same_machine):
            return unnamed(TELL, elsewhere)
        samples = self.now.made_in(metric).samples
        if samples != "one" and not (self.now.suite.claims and self.base.suite.claims):
            return unnamed(TELL, SMOKE)
        if samples == "launches":
            return self._times(case, old, metric)
        if samples == "seeds" and metric.scored_as == "difference":
            return self._losses(case, metric)
        return self._counts(case, metric)

    def _times(self, case: Case, old: Case, metric: Metric) -> GateFinding:
        """How a time changed. It has no verdict: the interval over launches does not hold how much two runs differ."""
        if why := self._not_alike(case, old, metric):
            return unnamed(TELL, why)
        own = self.now.anchor(case, metric) == case
        if own and not self._same_machine:
            return unnamed(TELL, ELSEWHERE)
        found = welch(*(_effect(tables, case, metric) for tables in (self.now, self.base)))
        if found is None:
            return unnamed(TELL, THREE)
        if not finite(found):
            return unnamed(TELL, "a time is not a finite number")
        reason: Value = "the anchor's own time" if own else "ratio to the anchor, now divided by before"
        share = max(tables.disturbed(case, metric) for tables in (self.now, self.base))
        if share > contamination.MOST:
            busy = Estimate(share, kind="about")
            reason = Sentence("{what}; {share} of the blocks were disturbed", what=reason, share=busy)
        return unnamed(NOT_ALTERNATED, reason, typical=found.ratio)

    def _not_alike(self, case: Case, old: Case, metric: Metric) -> str | None:
        """Return why the two runs timed something else, though the case is the same; None if they did not."""
        if self.now.anchor(case, metric) != self.base.anchor(old, metric):
            return "the two runs have different anchors"
        inputs = [
            {notes.inputs for notes in t.cell(case.id, metric.key).notes(TimeNotes)} for t in (self.now, self.base)
        ]
        labels = {*self.now.labels(case, metric), *self.base.labels(old, metric)}
        if inputs[0] != inputs[1] and (case.is_user_model or Label.INPUT_DEPENDENT in labels):
            numbers = " and ".join("/".join(sorted(map(str, each))) for each in inputs)
            return f"its cost may depend on the input, and the runs timed it on {numbers} of them: make both with the same rounds"
        return None

    def _losses(self, case: Case, metric: Metric) -> GateFinding:
        """Compare losses or accuracies seed by seed. Without a named limit, any change for the worse alarms that is shown."""
        cells = [tables.cell(case.id, metric.key) for tables in (self.now, self.base)]
        if len({notes.corpus_sha256 for cell in cells for notes in cell.notes(TrainNotes)[:1]}) > 1:
            return unnamed(TELL, "trained on different text")
        now, before = (cell.values() for cell in cells)
        seeds = sorted(now.keys() & before.keys())
        if not seeds:
            return unnamed(TELL, "the two runs have no seed in common")
        if now == before:
            return unnamed("pass", "identical, seed by seed", typical=_difference(0.0))
        broken = _broken([now[seed] for seed in seeds], [before[seed] for seed in seeds])
        if broken:
            return unnamed(*broken)
        effect = effects.by_seed(now, before)
        if effect.low is None or effect.sd is None:
            few = Sentence("{n:seed}: three give an interval", n=effect.n)
            return unnamed(TELL, few, typical=_difference(effect.value))
        sign = -1 if metric.better == "lower" else 1
        check = check_of(metric)
        allowed = self.rules.limit(check) * abs(sum(before[seed] for seed in seeds) / len(seeds))
        change = Change(
            sign * effect.value,
            effect.sd / math.sqrt(effect.n),
            effect.n - 1,
            allowed,
            self.rules.alarms(check, allowed),
        )
        made = _difference(effect.value, effect.low90, effect.high90)
        said = "difference, seed by seed"
        return unnamed(TELL, said, typical=made, judged_by=change)

    def _counts(self, case: Case, metric: Metric) -> GateFinding:
        now, before = (tables.estimate(case, metric).value for tables in (self.now, self.base))
        if now == before:
            return unnamed("pass", "counted: identical", typical=ratio(1.0))
        broken = _broken([now], [before])
        if broken:
            return unnamed(*broken)
        if 0 in {now, before}:
            word = "worse" if (now > before) == (metric.better == "lower") else "better"
            then, new = (Estimate(each, kind="setting") for each in (before, now))
            return unnamed(word, Sentence("counted: {then} before, {new} now", then=then, new=new))
        made = ratio(before / now if metric.better == "lower" else now / before)
        word = self.rules.exact(metric, now, before)
        return unnamed(word, "counted, not sampled", typical=made)


def _difference(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, "difference", "nat", level=1 - 2 * ALPHA)


def _effect(tables: Tables, case: Case, metric: Metric) -> Effect:
    """Return the effect of a case over its launches, above 0 where it is faster: against its anchor; of that its own log time."""
    anchor = tables.anchor(case, metric)
    return tables.pair(metric, case, anchor).effect if case != anchor else tables.estimate(case, metric).mirrored()


def _planned(tables: Tables, case: Case, metric: Metric) -> bool:
    return any(metric.key in each.metrics and case in each.arms for each in tables.plan.comparisons)


def _trouble(tables: Tables, case: Case, metric: Metric) -> Trouble | None:
    found = tables.trouble(case, metric)
    if found is None and (partly := tables.partly(case, metric)):
        return Trouble("skipped", partly)
    timed = tables.made_in(metric).samples == "launches" and not metric.source
    return found or (tables.anchor_trouble(case, metric) if timed else None)


def _lost(tables: Tables, case: Case, metric: Metric, trouble: Trouble | None) -> bool:
    """Whether it would have been measured but for an unsteady arm, or a unit without a record or with a damaged one."""
    return trouble is not None and (trouble.kind in UNKNOWN or bool(tables.behind(case, metric).missing))


def _broken(now: list[float], before: list[float]) -> tuple[str, str] | None:
    """Return verdict and reason where a value is not a finite number."""
    if not all(map(math.isfinite, before)):
        return TELL, "the earlier value is not a finite number"
    return None if all(map(math.isfinite, now)) else ("worse", "now it is not a finite number")


def finite(change: Change) -> bool:
    """Whether a change can be judged."""
    return all(map(math.isfinite, (change.value, change.se, change.df)))
