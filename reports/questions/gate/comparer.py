"""What the gate compares with what: every metric of every case of two runs, or why there is nothing to compare.

The anchor's own time, to which all others are ratios, is judged against how much earlier runs of the same machine differ. A run
is the unit of evidence there: runs of the same code differ by more than their launches, since each has an hour of its own.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modbench.harness.core import options
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.labels import LOOKED_AHEAD, OF_PRECISION, Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes.memory import FitNotes
from modbench.harness.domain.notes.timing import TimeNotes
from modbench.harness.domain.notes.training import TrainNotes
from modbench.harness.results import run_folder
from modbench.harness.stats import contamination, effects, mean_effects, paired
from modbench.reports.model import Estimate, Sentence
from modbench.reports.questions.gate.fail_on import Rules
from modbench.reports.questions.gate.non_inferiority import ALPHA, LABELS, Change, GateFinding, ratio, welch
from modbench.reports.tables import provenance
from modbench.reports.tables.cell import Trouble
from modbench.reports.tables.outcomes import Tables
from modbench.reports.writers.number_format import percent, plain, typed

NO_RATIO = Estimate(None)
# Settings of training that change no result: when it is observed, and what is kept.
NO_EFFECT = {"looks", "watch", "flips", "checkpoint_s"}


def why_other(now: Tables, base: Tables, case: Case, old: Case, metric: Metric) -> str | None:
    """Return why the two runs did not measure the same thing, or None."""
    if case != old:
        return f"the same id, but another case: {differences(case, old)}"
    mine, theirs = (settings(tables, case, metric) for tables in (now, base))
    if mine != theirs:
        changed = [f"{key} {value}, was {theirs.get(key)}" for key, value in mine.items() if value != theirs.get(key)]
        return f"measured with other settings: {'; '.join(changed) or 'see the suites'}"
    return None


def settings(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    """Return what a value depends on besides the case: `train.tokens` and the like."""
    suite, made_in = tables.run.plan.suite, tables.made_in(metric)
    decodes = metric.workload == "decode"
    plan: Frozen | None = suite.decode if decodes else made_in.settings(suite, case)
    name = "decode" if decodes else made_in.name
    dumped = {} if plan is None else plan.model_dump(exclude=NO_EFFECT)
    found = {f"{name}.{key}": value for key, value in dumped.items()}
    budgets = [notes.budget_bytes for notes in tables.cell(case.id, metric.key).notes(FitNotes)]
    return found | {"budget": next(iter(budgets), None)}


def differences(case: Case, old: Case) -> str:
    """Return how two cases of one id differ: `d_model 64, was 32`."""
    now, before = (
        {**side.config.model_dump(), "model": side.model, "options": options.typed(dict(side.options)) or "none"}
        for side in (case, old)
    )
    return ", ".join(f"{name} {now[name]}, was {before[name]}" for name in now if now[name] != before[name])


# Least earlier runs from which their variation is estimated.
FEWEST_RUNS = 3
ELSEWHERE = "the anchor: no earlier run was made on this machine, so its own time is not judged"


@dataclass(frozen=True)
class History:
    """Earlier runs, and how an anchor's time is judged by them.

    Attributes:
        now: the new run.
        base: the run that it is compared with, which is one of the earlier ones.
        others: more earlier runs of the same machine.
        said: what was left out, and why.
    """

    now: Tables
    base: Tables
    others: tuple[Tables, ...] = ()
    said: tuple[str, ...] = ()

    def finding(self, case: Case, metric: Metric, margin: float) -> GateFinding:
        """Return how the anchor's own time changed, with a change to judge where the runs tell how much they differ.

        Its typical and its mean time are judged; of the two the one that counts more is returned, or both in one finding.
        """
        found = [
            self._finding(case, metric, margin, mean=mean) for mean in (False, True) if not (mean and metric.quantile)
        ]
        typical, *means = found
        for mean in means:
            if typical.changes and mean.changes:
                typical = replace(typical, changes=(*typical.changes, *mean.changes), mean=mean.typical)
            elif mean.verdict == "cannot tell" and typical.verdict != "cannot tell":
                typical = replace(mean, reason=f"mean time: {mean.reason}")
        return typical

    def _finding(self, case: Case, metric: Metric, margin: float, *, mean: bool) -> GateFinding:
        now = self._value(self.now, case, metric, mean=mean)
        here = [tables for tables in (self.base, *self.others) if same_machine(self.now, tables)]
        earlier = [value for tables in here for value in self._of(tables, case, metric, mean=mean)]
        if not earlier:
            elsewhere = math.exp(self._value(self.base, case, metric, mean=mean) - now)
            return _told("not compared", ELSEWHERE, typical=ratio(elsewhere))
        value, edge = statistics.fmean(earlier) - now, math.log1p(margin)
        if not math.isfinite(value):
            return _told("cannot tell", "the anchor: a time is not a finite number")
        busy = self.now.disturbed(case, metric)
        if busy > contamination.MOST:
            said = f"contaminated: {percent(busy, 0)} of the anchor's blocks were disturbed"
            return _told("cannot tell", said, typical=ratio(math.exp(value)))
        moved = ""
        if abs(value) > edge:
            moved = f"; if its code did that, unchanged arms look {'better' if value < 0 else 'worse'} by as much"
        runs = plain(Sentence("{n:earlier run} of this machine", n=len(earlier)))
        if len(earlier) < FEWEST_RUNS:
            said = (
                f"the anchor: its spread between runs needs {FEWEST_RUNS} earlier runs (--history RUN); known: {runs}"
            )
            word = "cannot tell" if value < -edge else "not compared"
            return _told(word, said + moved, typical=ratio(math.exp(value)))
        sd = statistics.stdev(earlier)
        change = Change(value, sd * math.sqrt(1 + 1 / len(earlier)), len(earlier) - 1, edge, edge)
        said = f"the anchor: {runs} differ by {percent(math.expm1(sd))} (standard deviation){moved}"
        if not change.passes and value >= -edge:
            # As without a history: who gives one must not fare worse for it.
            said += ", too much to exclude a slowdown above the margin"
            return _told("not compared", said, typical=change.ratio)
        return _told("cannot tell", said, typical=change.ratio, changes=(change,))

    def _of(self, tables: Tables, case: Case, metric: Metric, *, mean: bool) -> Iterator[float]:
        """Yield the logarithm of the case's time in a run, if that measured it with the same settings."""
        if case not in tables.run.plan.cases or not tables.cell(case.id, metric.key).outcomes:
            return
        same = settings(tables, case, metric) == settings(self.base, case, metric)
        if same and tables.trouble(case, metric) is None:
            yield self._value(tables, case, metric, mean=mean)

    def _value(self, tables: Tables, case: Case, metric: Metric, *, mean: bool) -> float:
        """Return the logarithm of the case's typical or mean time in a run."""
        if not mean:
            return tables.estimate(case, metric).value
        cell, column = tables.cell(case.id, metric.key), tables.made_in(metric).column
        return statistics.fmean(
            mean_effects.undisturbed_log_mean(outcome.samples, column, cell.blocks.get(launch, {}))
            for launch, outcome in cell.good().items()
        )


def same_machine(one: Tables, other: Tables) -> bool:
    """Return whether both runs were timed on one machine, by its fingerprint."""
    machines = {node.machine for tables in (one, other) for node in provenance.timed_on(tables.run)}
    return len(machines) == 1 and None not in machines


def history(now: Tables, base: Tables, folders: Sequence[str]) -> History:
    """Read earlier runs, leaving out those that tell nothing about this machine.

    Args:
        now: the new run.
        base: the run that it is compared with.
        folders: run folders, or folders of run folders.

    Raises:
        UsageError: if a folder is neither.
    """
    known = {tables.run.path.resolve() for tables in (now, base)}
    found, said = [], []
    for path in dict.fromkeys(run for folder in folders for run in _runs_in(Path(folder))):
        if path.resolve() in known:
            continue
        known.add(path.resolve())
        try:
            tables = Tables(run_folder.read(str(path)))
        except UsageError as error:
            said.append(f"--history {path} is left out: {error}")
            continue
        if not same_machine(now, tables):
            said.append(f"--history {path} is left out: another machine")
        elif not {*now.run.plan.cases} & {*tables.run.plan.cases}:
            said.append(f"--history {path} is left out: no case in common")
        elif not tables.run.plan.suite.claims:
            said.append(f"--history {path} is left out: a smoke run makes no claims")
        else:
            if tables.run.damaged:
                said.append(f"--history {path}: {tables.run.incomplete}")
            found.append(tables)
    return History(now, base, tuple(found), tuple(said))


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "run.json").is_file():
        return [folder]
    inside = sorted(file.parent for file in folder.glob("*/run.json"))
    if not inside:
        raise UsageError(f"--history {str(folder)!r} is not a run folder, and holds none.")
    return inside


TELL, COUNT_OUT = "cannot tell", "not compared"
# Reasons.
GONE, NOT_ASKED = "the new run has no such case", "the new run did not request it"
NEW, NEWLY_ASKED = "new: the earlier run has no such case", "new: the earlier run did not request it"
SMOKE, THREE = "a smoke run makes no claims", "an interval needs three launches in each run"
# Failures that say nothing about the code: what was measured is not known.
UNKNOWN = {"not_steady", "damaged"}
# Labels with which a number looks better than it is, by what it comes from: losses, times.
FLATTERED = {
    "seeds": LOOKED_AHEAD,
    "launches": frozenset({Label.REUSES_OUTPUT, Label.IDLE_IN_TRAINING, Label.OTHER_PRECISION, Label.CLOCK_CHANGED}),
}


# Of a pair in both runs the gate judges typical calls first, then mean times: by wall time, by CPU time, and where undisturbed.
WALL, CPU, CLEAN = ("effect", "mean"), ("cpu", "cpu_mean"), ("clean",)


def changes(pairs: Sequence[paired.Paired], names: Sequence[str], limit: float) -> list[Change]:
    """How estimates of a pair changed from the old run to the new one; none where one of them has no interval."""
    both = [[getattr(pair, name) for pair in pairs] for name in names]
    known = [each for each in both if None not in each]
    found = [change for now, before in known if (change := welch(now, before, limit)) is not None]
    return found if len(found) == len(known) else []


def _opposed(one: Change, other: Change) -> bool:
    """Whether one shows no slowdown beyond the limit, and the other shows one."""
    return one.passes != other.passes and min(one.p_worse, other.p_worse) < ALPHA


@dataclass(frozen=True)
class Comparer:
    """Compares two runs.

    Attributes:
        now: the new run.
        base: the old one.
        rules: by which limits.
        history: by which the anchor's own time is judged.
    """

    now: Tables
    base: Tables
    rules: Rules
    history: History

    @functools.cached_property
    def _same_machine(self) -> bool:
        return same_machine(self.now, self.base)

    def findings(self) -> Iterator[GateFinding]:
        """Yield one for each case and metric of either run, then one for each case's labels; changes are still to be judged."""
        here, there = ({case.id: case for case in tables.run.plan.cases} for tables in (self.now, self.base))
        yield from self._numbers(here, there)
        for name in dict.fromkeys([*here, *there]):
            if name in there:
                found = self._labels(here[name], there[name]) if name in here else _told(TELL, GONE)
                yield replace(found, what=name, metric=LABELS)

    def _numbers(self, here: Mapping[str, Case], there: Mapping[str, Case]) -> Iterator[GateFinding]:
        for comparison in self.now.run.plan.comparisons:
            for key in comparison.metrics:
                for case in comparison.arms:
                    metric = self.now.metrics[key]
                    if case.id not in there:
                        found = _told(COUNT_OUT, NEW)
                    elif not _planned(self.base, there[case.id], metric):
                        found = _told(COUNT_OUT, NEWLY_ASKED)
                    else:
                        found = self._compare(case, there[case.id], metric)
                    yield replace(found, what=case.id, metric=key)
        for comparison in self.base.run.plan.comparisons:
            for key in comparison.metrics:
                for case in comparison.arms:
                    gone = GONE if case.id not in here else NOT_ASKED
                    metric = self.base.metrics[key]
                    if case.id not in here or not _planned(self.now, here[case.id], metric):
                        word = COUNT_OUT if self._by_nature(metric) else TELL
                        yield replace(_told(word, gone), what=case.id, metric=key)

    def _compare(self, case: Case, old: Case, metric: Metric) -> GateFinding:
        nature = self._by_nature(metric)
        other = why_other(self.now, self.base, case, old, metric)
        if other:
            return _told(COUNT_OUT if nature else TELL, other)
        trouble, earlier = self.now.trouble(case, metric), _trouble(self.base, old, metric)
        if trouble and trouble.status == "failed" and trouble.kind not in UNKNOWN and not earlier:
            return _told("worse", f"fails now: {trouble.reason}")
        trouble = _trouble(self.now, case, metric)
        if nature:
            return _told(COUNT_OUT, nature)
        if trouble or earlier:
            return self._not_measured(case, metric, trouble, earlier)
        return self._flattered(case, old, metric, self._measured(case, old, metric))

    def _flattered(self, case: Case, old: Case, metric: Metric, found: GateFinding) -> GateFinding:
        """Withhold a verdict that rests on a number which looks better than it is in one of the runs alone."""
        samples = self.now.made_in(metric).samples
        kind = FLATTERED.get(samples, frozenset()) if metric.unit != "FLOP" else frozenset({Label.LOWER_BOUND})
        now, before = (kind & {*t.row_labels(c, metric)} for t, c in ((self.now, case), (self.base, old)))
        # Of a count it is certain that a lower bound which rose has risen, and that what fell below one has fallen.
        unsure = {"pass", "better"} if now - before else {"worse"}
        certain = samples == "one" and found.verdict not in unsure
        if now == before or certain or found.verdict == COUNT_OUT:
            return found
        said = f"now {', '.join(sorted(now - before))}" if now - before else f"before {', '.join(sorted(before - now))}"
        return replace(found, verdict=TELL, reason=f"{said}: not the same quantity", changes=())

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
            return _told(TELL if other else COUNT_OUT, said)
        for metric in both:
            if lost := self.now.damaged(case, metric) or self.base.damaged(old, metric):
                return _told(TELL, lost)
        now, before = ({label for m in both for label in tables.row_labels(each, m)} for tables, each in sides)
        fresh = now - before - OF_PRECISION - {Label.FASTER}
        if fresh:
            return _told("worse", f"now {', '.join(sorted(fresh))}")
        return _told("pass", "no label that it had not")

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
        return _told(word, f"{which}: {said.reason}{both}")

    def _measured(self, case: Case, old: Case, metric: Metric) -> GateFinding:
        if damaged := self.now.damaged(case, metric) or self.base.damaged(old, metric):  # the file of the case's checks
            return _told(TELL, damaged)
        if elsewhere := self.rules.elsewhere(metric, same=self._same_machine):
            return _told(TELL, elsewhere)
        samples = self.now.made_in(metric).samples
        if samples != "one" and not (self.now.run.plan.suite.claims and self.base.run.plan.suite.claims):
            return _told(TELL, SMOKE)
        if samples == "launches":
            return self._times(case, old, metric)
        if samples == "seeds" and metric.scored_as == "difference":
            return self._losses(case, metric)
        return self._counts(case, metric)

    def _times(self, case: Case, old: Case, metric: Metric) -> GateFinding:
        anchors = [self.now.anchor(case, metric), self.base.anchor(old, metric)]
        if anchors[0] != anchors[1]:
            return _told(TELL, "the two runs have different anchors")
        inputs = [
            {notes.inputs for notes in t.cell(case.id, metric.key).notes(TimeNotes)} for t in (self.now, self.base)
        ]
        labels = {*self.now.labels(case, metric), *self.base.labels(old, metric)}
        if inputs[0] != inputs[1] and (case.own or Label.INPUT_DEPENDENT in labels):
            numbers = " and ".join("/".join(sorted(map(str, each))) for each in inputs)
            said = f"its cost may depend on the input, and the runs timed it on {numbers} of them: make both with the same rounds"
            return _told(TELL, said)
        if anchors[0] == case:
            return self.history.finding(case, metric, self.rules.limit(metric))
        column, pairs = self.now.made_in(metric).column, []
        for tables in (self.now, self.base):
            launches = tables.launches(metric, case, anchors[0], anchors[0])
            one_thread, averaged = case.place.one_thread, not metric.quantile
            pairs.append(paired.compare(launches, column=column, one_thread=one_thread, averaged=averaged))
        limit = self.rules.limit(metric)
        wall, cpu, clean = (changes(pairs, names, limit) for names in (WALL, CPU, CLEAN))
        if not wall:
            return _told(TELL, THREE)
        if not all(map(finite, wall)):
            return _told(TELL, "a time is not a finite number")
        found, reason, kept = wall, "ratio to the anchor, now divided by before", True
        share = max(pair.disturbed for pair in pairs)
        busy = f"{percent(share, 0)} of the blocks were disturbed"
        escaped = [self.now.escapes(metric, case, anchors[0]), self.base.escapes(metric, old, anchors[1])]
        unfit = next(filter(None, [*escaped, *(pair.unfit for pair in pairs)]), None)
        # The clock is chosen by what was disturbed, before any change is looked at.
        if share > contamination.MOST and unfit is None and cpu:
            found, reason = cpu, f"{reason}, {Label.BY_CPU}: {busy}"
        elif share > contamination.MOST:
            reason, kept = f"contaminated: {busy}, and CPU time does not count: {unfit or THREE}", False
        elif share and clean and _opposed(wall[0], clean[0]):
            reason, kept = f"contaminated: undisturbed samples alone give {plain(clean[0].ratio)}", False
        where = f"{metric.key} {case.place.label}"
        found = [replace(change, alike=f"{where} {number}") for number, change in enumerate(found)]
        typical, mean = [*(each.ratio for each in found), None][:2]
        assert typical is not None
        return _told(TELL, reason, typical=typical, mean=mean, changes=tuple(found) if kept else ())

    def _losses(self, case: Case, metric: Metric) -> GateFinding:
        """Compare losses or accuracies seed by seed. Without a named limit, any change for the worse alarms that is shown."""
        cells = [tables.cell(case.id, metric.key) for tables in (self.now, self.base)]
        if len({notes.corpus_sha256 for cell in cells for notes in cell.notes(TrainNotes)[:1]}) > 1:
            return _told(TELL, "trained on different text")
        now, before = (cell.values() for cell in cells)
        seeds = sorted(now.keys() & before.keys())
        if not seeds:
            return _told(TELL, "the two runs have no seed in common")
        if now == before:
            return _told("pass", "identical, seed by seed", typical=_difference(0.0))
        broken = _broken([now[seed] for seed in seeds], [before[seed] for seed in seeds])
        if broken:
            return _told(broken[0], broken[1])
        effect = effects.over_launches([now[seed] - before[seed] for seed in seeds])
        if effect.low is None or effect.sd is None:
            said = plain(Sentence("{n:seed}: three give an interval", n=len(seeds)))
            return _told(TELL, said, typical=_difference(effect.value))
        sign = -1 if metric.better == "lower" else 1
        allowed = self.rules.limit(metric) * abs(sum(before[seed] for seed in seeds) / len(seeds))
        change = Change(
            sign * effect.value,
            effect.sd / math.sqrt(effect.n),
            effect.n - 1,
            allowed,
            self.rules.alarms(metric, allowed),
            family="seeds",
        )
        made = _difference(effect.value, effect.low90, effect.high90)
        said = "difference, seed by seed"
        return _told(TELL, said, typical=made, changes=(change,))

    def _counts(self, case: Case, metric: Metric) -> GateFinding:
        now, before = (tables.estimate(case, metric).value for tables in (self.now, self.base))
        if now == before:
            return _told("pass", "counted: identical", typical=ratio(1.0))
        broken = _broken([now], [before])
        if broken:
            return _told(broken[0], broken[1])
        if 0 in {now, before}:
            word = "worse" if (now > before) == (metric.better == "lower") else "better"
            return _told(word, f"counted: {typed(before)} before, {typed(now)} now")
        made = ratio(before / now if metric.better == "lower" else now / before)
        word = self.rules.exact(metric, now, before)
        return _told(word, "counted, not sampled", typical=made)


def _told(
    verdict: str,
    reason: str,
    *,
    typical: Estimate = NO_RATIO,
    mean: Estimate | None = None,
    changes: tuple[Change, ...] = (),
) -> GateFinding:
    """Return a finding without its case and metric, which are named where it is yielded."""
    return GateFinding("", verdict=verdict, reason=reason, typical=typical, mean=mean, changes=changes)


def _difference(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, "difference", "nat", level=1 - 2 * ALPHA)


def _planned(tables: Tables, case: Case, metric: Metric) -> bool:
    return any(case in each.arms and metric.key in each.metrics for each in tables.run.plan.comparisons)


def _trouble(tables: Tables, case: Case, metric: Metric) -> Trouble | None:
    found = tables.trouble(case, metric)
    timed = tables.made_in(metric).samples == "launches" and not metric.source
    return found or (tables.anchor_trouble(case, metric) if timed else None)


def _lost(tables: Tables, case: Case, metric: Metric, trouble: Trouble | None) -> bool:
    """Whether it would have been measured but for an unsteady arm, or a unit without a record or with a damaged one."""
    return trouble is not None and (
        trouble.kind in UNKNOWN or bool(tables.cell(case.id, tables.source(metric).key).missing)
    )


def _broken(now: list[float], before: list[float]) -> tuple[str, str] | None:
    """Return verdict and reason where a value is not a finite number."""
    if not all(map(math.isfinite, before)):
        return TELL, "the earlier value is not a finite number"
    return None if all(map(math.isfinite, now)) else ("worse", "now it is not a finite number")


def finite(change: Change) -> bool:
    """Whether a change can be judged."""
    return all(map(math.isfinite, (change.value, change.se, change.df)))
