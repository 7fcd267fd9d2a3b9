"""A run's outcomes by case and metric: values, why a value is missing, doubts. Statistics are computed on demand."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean, median
from typing import Any, TypeAlias, TypeVar

from modbench.harness.audit.card import AuditFinding
from modbench.harness.core.config import GENERATION_KEYS
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import Unmeasured, UsageError
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import ESCAPED, Label
from modbench.harness.domain.case import Case, Comparison, UnitOfWork
from modbench.harness.domain.evidence import Doubt, Evidence, Launch, LaunchCount
from modbench.harness.domain.notes import (
    CARRIER,
    CountNotes,
    PeakFinding,
    RooflineFinding,
    SomeNotes,
    TimeNotes,
    TrainNotes,
    WithoutOwnFinding,
)
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Record
from modbench.harness.planning.comparisons import first_launches
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results.run_file import StoredRun
from modbench.harness.roofline.table import Table
from modbench.harness.stats import effects, paired, trend_test
from modbench.harness.stats.against_anchor import Process
from modbench.harness.stats.contrast import SEVERAL_THREADS, ByClock, Contrast, Rule, Seen, Side, contrast
from modbench.harness.stats.paired import Numbers
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.seed_sets import SeedSets
from modbench.reports.reasons import in_words
from modbench.reports.tables import audits, provenance, solved
from modbench.reports.tables.cell import Cell, Trouble
from modbench.reports.wording import arm_named, name

LEFT_OUT = "not measured: the search did not need it"
# Of units that a rule has not asked for, and did not ask for, by rule.
REASONS = {
    "bisection": ("not measured: the search has not ended", LEFT_OUT),
    "confirmation": (
        "not confirmed: the sweep has not ended",
        "not confirmed: the sweep found another size or variant better",
    ),
}


def left_out(run: StoredRun) -> Iterator[tuple[UnitOfWork, str]]:
    """Yield the units that no rule asked for, and why; none where all that is planned is measured."""
    asked, undecided = ({unit.name for unit in units} for units in (run.plan.units, run.undecided))
    for unit in run.planned:
        if unit.rule and unit.name not in asked:
            other = f"not measured: {unit.rule} has not ended", f"not measured: {unit.rule} did not ask for it"
            reasons = REASONS.get(unit.rule, other)
            yield unit, reasons[unit.name not in undecided]


def refuse_apart(plan: Plan, baseline: str) -> None:
    """Refuse a baseline beside which a search timed no other arm, or its own rung alone.

    Raises:
        UsageError: if the suite searches, and the baseline is not its anchor.
    """
    anchor = plan.comparisons[0].arms[0].arm
    if plan.suite.search is not None and baseline != anchor:
        raise UsageError(
            f"baseline {baseline!r}: a search times each arm beside {anchor!r} and its own rung, so that other arms have no "
            "ratio to it. Leave the baseline out."
        )


# The column of tokens that follow a prompt in a whole request; a last one of each table.
NEW_TOKENS = "new_tokens"
# The loss whose routers decided without later tokens.
CAUSAL_LOSS = "loss/val_causal"
# Losses in nats per token, the one comparable with dense first; and all held-out losses.
PER_TOKEN = (CAUSAL_LOSS, "loss/val")
HELD_OUT = (*PER_TOKEN, "bpb/val")
# Where a number was measured, what it is, its launch or seed, and its samples.
Number: TypeAlias = tuple[str, str, int, tuple[float, ...]]
# Without these nobody can tell whether two arms are one.
NEEDED = {"flops/forward", "params", "loss/val"}


Made = TypeVar("Made")
PerCell: TypeAlias = Callable[["Tables", Case, Metric], Made]


def once(compute: PerCell[Made]) -> PerCell[Made]:
    """Compute it once for each case and metric of a run: panels ask for the same again and again."""

    @functools.wraps(compute)
    def remembered(tables: Tables, case: Case, metric: Metric) -> Made:
        key = (compute.__name__, case.id, metric.key)
        if key not in tables.known:
            tables.known[key] = compute(tables, case, metric)
        made: Made = tables.known[key]
        return made

    return remembered


class Tables:
    """The run's outcomes by case and metric, and estimates from them.

    Args:
        run: the stored run.
        baseline: name of the arm that others are compared with; None: every comparison's anchor.

    Raises:
        UsageError: if no arm has that name, or several have.
    """

    def __init__(self, run: StoredRun, baseline: str | None = None) -> None:
        self.run, self.plan, self.suite, self.baseline = run, run.plan, run.plan.suite, baseline
        self.metrics = catalogue.metrics()
        self._passes = {key: catalogue.pass_of(metric) for key, metric in self.metrics.items()}
        self.doubts: dict[str, Doubt] = catalogue.usable("doubts")
        self.launch_counts = run.found(LaunchCount)
        self.cells: dict[tuple[str, str], Cell] = {}
        self.peaks: dict[str, float] = {}
        self.known: dict[tuple[str, str, str], Any] = {}  # what `once` remembers
        self.rooflines: dict[str, Table] = {}
        self._processes: dict[tuple[str, str], dict[int, Process]] = {}
        self.without_own: dict[tuple[str, str], Launch] = {}
        self.audits: dict[str, AuditFinding] = {}
        # Where each metric of a case was measured: searching the plan anew for every cell takes time quadratic in its cases.
        self._measured_in: dict[tuple[str, str], Comparison] = {}
        for comparison in self.plan.comparisons:
            for case in comparison.arms:
                for key in comparison.metrics:
                    self._measured_in.setdefault((case.id, key), comparison)
        if baseline is not None:
            self.baseline = arm_named(self.plan.cases, baseline, "baseline").arm
            refuse_apart(self.plan, self.baseline)
        records = {record.unit.name: record for record in run.records}
        apart = first_launches(self.suite, self.plan.comparisons)
        for unit in self.plan.units:
            number = (
                unit.protocol.seed
                if unit.facts.samples == "seeds"
                else apart.get(unit.comparison.label, 0) + unit.launch
            )
            record: Record | None = records.get(unit.name)
            if record is not None:
                self._take(record, number)
                for outcome in record.outcomes:
                    self.cell(outcome.case, outcome.metric).series = unit.series
                continue
            for case in unit.comparison.arms:
                for made in unit.facts.makes:
                    self.cell(case.id, made.key).missing.append(unit.name)
        # Files of the user's of which the run's units ran several versions.
        versions = provenance.joined_versions(cell.versions for cell in self.cells.values())
        self.changed = frozenset(provenance.mixed_versions(versions))
        self._leave_out()

    def _leave_out(self) -> None:
        for unit, reason in left_out(self.run):
            for case in unit.comparison.arms:
                for made in unit.facts.makes:
                    self.cell(case.id, made.key).left_out = reason

    def _take(self, record: Record, number: int) -> None:
        if isinstance(record.findings, PeakFinding):
            self.peaks[record.findings.dtype] = record.findings.flop_per_s
        if isinstance(record.findings, RooflineFinding):
            self.rooflines[record.findings.table.dtype] = record.findings.table
        if isinstance(record.findings, WithoutOwnFinding):
            anchor, label = record.unit.comparison.arms[0].id, record.unit.comparison.label
            for key, arms in record.findings.samples.items():
                if anchor in arms:
                    self.without_own[label, key] = Launch(arms[anchor], record.findings.blocks)
        if (audit := audits.audit_in(record)) is not None:
            self.audits[self._audited_as(record.unit.comparison.arms[0])] = audit
        blocks = {each.group: each.columns for each in record.blocks}
        for outcome in record.outcomes:
            cell = self.cell(outcome.case, outcome.metric)
            cell.outcomes.append((number, outcome))
            cell.nodes |= provenance.nodes_named(record)
            cell.versions = provenance.joined_versions([cell.versions, provenance.versions_of_outcome(record, outcome)])
            if outcome.metric in self.metrics:
                cell.blocks[number] = blocks.get(self.metrics[outcome.metric].group, {})
        if record.unit.facts.samples == "launches":
            anchor = record.unit.comparison.arms[0].id
            good = grouped((each.metric, each) for each in record.outcomes if each.status == "ok")
            for key, outcomes in good.items():
                arms = {each.case: each.samples for each in outcomes}
                group = self.metrics[key].group if key in self.metrics else ""
                self._processes.setdefault((anchor, key), {})[number] = Process(arms, anchor, blocks.get(group, {}))

    def cell(self, case_id: str, metric: str) -> Cell:
        """Return the cell, empty if nothing was measured."""
        return self.cells.setdefault((case_id, metric), Cell())

    def behind(self, case: Case, metric: Metric) -> Cell:
        """Return the cell that a case's number comes from: of a rate that of the time that it is derived from."""
        return self.cell(case.id, self.source(metric).key)

    def values_of(self, case: Case, key: str) -> dict[int, float]:
        """Return the value of a metric by seed (or process), of those that have one value each."""
        return self.cell(case.id, key).values()

    def samples_of(self, case: Case, key: str) -> dict[int, Mapping[str, list[float]]]:
        """Return the raw samples behind a metric of a case by process (or seed): columns with one row for each sample."""
        return {number: outcome.samples for number, outcome in self.cell(case.id, key).good().items()}

    def notes_of(self, case: Case, key: str, kind: type[SomeNotes]) -> list[SomeNotes]:
        """Return the notes of one kind beside a metric of a case, in the order of its processes or seeds."""
        return self.cell(case.id, key).notes(kind)

    def training_notes(self, case_id: str) -> TrainNotes | None:
        """Return the notes of the first seed's run on a corpus, stored with one of its metrics; None if it was not trained."""
        cells = (self.cells.get((case_id, key), Cell()) for key in self.metrics)
        return next((notes for cell in cells for notes in cell.notes(TrainNotes)[:1] if notes.curve), None)

    def made_in(self, metric: Metric) -> Pass:
        """Return the pass that makes a metric, or its source."""
        return self._passes[metric.key]

    def source(self, metric: Metric) -> Metric:
        """Return the metric itself, or the timed one that it is derived from."""
        return self.metrics[metric.source] if metric.source else metric

    def counted(self, case: Case) -> CountNotes:
        """Return the notes of the counting pass about a case, a twin's about its anchor; empty if it was not counted."""
        return next(iter(self.cell(case.original.id, CARRIER).notes(CountNotes)), CountNotes())

    def anchor(self, case: Case, metric: Metric) -> Case:
        """Return the arm that every block of this case also timed."""
        return self.comparison(case, metric).arms[0]

    def comparison(self, case: Case, metric: Metric) -> Comparison:
        """Return the comparison in which this metric of the case was measured."""
        return self._measured_in[case.original.id, metric.key]

    def asked(self) -> Iterator[tuple[Comparison, Metric, Case]]:
        """Yield what the run was asked for: of each comparison each metric of each arm."""
        for comparison in self.plan.comparisons:
            for key in comparison.metrics:
                yield from ((comparison, self.metrics[key], case) for case in comparison.arms)

    def twins(self) -> Iterator[tuple[Case, Case, Metric]]:
        """Yield (twin, anchor, metric) for every time that a twin of an anchor was measured in."""
        for comparison in self.plan.comparisons:
            twin, anchor = comparison.twin_arm, comparison.arms[0]
            for metric in (self.metrics[key] for key in comparison.metrics):
                if twin is None or not self.made_in(metric).times or metric.source:
                    continue
                if self.comparison(anchor, metric) is comparison:  # of a search, whose comparisons share it, once
                    yield twin, anchor, metric

    def baseline_of(self, comparison: Comparison) -> Case:
        """Return the arm of a comparison that the others are compared with."""
        named = (case for case in comparison.arms if case.arm == self.baseline)
        return next(named, comparison.arms[0])

    def processes(self, case: Case, metric: Metric) -> dict[int, Process]:
        """Return the processes that timed a case, with all of its comparison."""
        found = self._processes.get((self.anchor(case, metric).id, self.source(metric).key), {})
        return {number: each for number, each in found.items() if case.id in each.arms}

    def beside(self, case: Case, metric: Metric) -> dict[int, Process]:
        """Return of these the ones in which the anchor was timed, too, from which ratios come; all where there is none."""
        found, anchor = self.processes(case, metric), self.anchor(case, metric).id
        return {number: each for number, each in found.items() if anchor in each.arms} or found

    def shared(self, metric: Metric, case: Case, baseline: Case) -> dict[int, Process]:
        """Return the processes that timed both arms and their anchor."""
        sides = {baseline.id, self.anchor(case, metric).id}
        return {number: each for number, each in self.processes(case, metric).items() if sides <= each.arms.keys()}

    def numbers(self, metric: Metric, case: Case, baseline: Case) -> Numbers:
        """Return the numbers of two arms in each launch, against their anchor; of a rate those of its times, shifted."""
        made_in = self.made_in(metric)
        found = paired.between(
            self.shared(metric, case, baseline),
            case.id,
            baseline.id,
            column=made_in.column,
            one_thread=made_in.times and case.place.one_thread,
            averaged=not self.source(metric).quantile,
            estimand=metric.estimand,
        )
        seen = replace(found.seen, unfit=self.escapes(metric, case, baseline) or found.seen.unfit)
        found = found._replace(seen=seen if made_in.times else Seen())
        # A rate is a number of tokens per mean second.
        return (
            found.shifted(math.log(self.factor(case, metric) / self.factor(baseline, metric)))
            if metric.source
            else found
        )

    def contrast(self, metric: Metric, case: Case, baseline: Case) -> Contrast:
        """Compare two arms that were sampled in the same launches, as the only contrast of their family."""
        return self.numbers(metric, case, baseline).contrast(Rule("time", self.suite.margin, estimand=metric.estimand))

    @once
    def trouble(self, case: Case, metric: Metric) -> Trouble | None:
        """Return why the metric has no value, or None; wrong FLOPs fail the whole case, an unsteady arm its times."""
        for key in ("flops/forward", "flops/train_step"):
            for _, outcome in self.cell(case.id, key).outcomes:
                if outcome.kind == "flops_mismatch":
                    return Trouble("failed", f"{outcome.kind}: {outcome.reason}", outcome.kind)
        cell = self.behind(case, metric)
        found = cell.trouble()
        if found is None and (drift := self.drift(case, metric)) is not None:
            return Trouble("failed", f"not_steady: {drift}", "not_steady")
        if found is None and metric.source:
            try:
                metric.measure(Derived(self, case, metric))
            except Unmeasured as error:
                return Trouble("skipped", str(error))
        return found

    @once
    def drift(self, case: Case, metric: Metric) -> str | None:
        """Return how the arm drifted relative to its anchor, over all launches; None if it did not, or is no timing."""
        anchor = self.anchor(case, metric)
        if not self.made_in(metric).times or case.id == anchor.id:
            return None
        shared = (each for each in self.processes(case, metric).values() if anchor.id in each.arms)
        effects_of = [each.of_blocks(case.id).tolist() for each in shared]
        return in_words(trend_test.drifting(effects_of, len(self.comparison(case, metric).arms) - 1))

    def partly(self, case: Case, metric: Metric) -> str | None:
        """Return how many launches of an incomplete run a time is from, or None: it has all that were planned, or no value."""
        return self.behind(case, metric).partly

    def anchor_trouble(self, case: Case, metric: Metric) -> Trouble | None:
        """Return why the anchor has no samples, or None: without them no two arms form a pair."""
        return self.behind(self.anchor(case, metric), metric).trouble()

    def factor(self, case: Case, metric: Metric) -> float:
        """Return the number that a derived metric divides by seconds."""
        return float(metric.measure(Derived(self, case, metric)))

    @once
    def estimate(self, case: Case, metric: Metric) -> effects.Effect:
        """Return value and interval of one cell; times and rates on the log scale."""
        made_in = self.made_in(metric)
        if made_in.samples != "launches":
            effect = self.behind(case, metric).over_seeds(self.seed_sets(metric))
            found = self.counts(case, metric)
            return solved.estimate(found, case, effect) if found is not None and found.counted else effect
        clocks = [each.by(made_in.column) for each in self.beside(case, metric).values()]
        if metric.estimand == "median":
            return effects.over_launches([each.typical[case.id] for each in clocks])
        means = effects.over_launches([each.mean[case.id] for each in clocks])
        return means.mirrored().shifted(math.log(self.factor(case, metric))) if metric.source else means

    def counts(self, case: Case, metric: Metric) -> solved.Counts | None:
        """Return how many runs of each arm solved the task that a metric is about; None if it is about none."""
        cells = {arm.id: self.cell(arm.id, metric.key) for arm in self.comparison(case, metric).arms}
        return solved.counts(metric, cells, self.suite, self.seed_sets(metric))

    def seed_sets(self, metric: Metric) -> SeedSets:
        """Return the sets of seeds that a metric was measured with: one, unless it is a task whose runs were pooled."""
        if not metric.task:
            return SeedSets((self.suite.seeds,))
        sets = tuple(each.seeds for each in self.run.sets)
        return SeedSets(sets or (self.suite.seeds,), self.suite.tasks.looks)

    @functools.cached_property
    def _typical_s(self) -> dict[tuple[str, str], float]:
        """Seconds of a typical call of each anchor."""
        found: dict[tuple[str, str], float] = {}
        for (anchor, key), processes in self._processes.items():
            walls = [each.arms[anchor]["wall_s"] for each in processes.values() if anchor in each.arms]
            if walls:
                found[anchor, key] = median(chain.from_iterable(walls))
        return found

    @functools.cached_property
    def _alike(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        return _alike(self)

    @once
    def doubts_about(self, case: Case, metric: Metric) -> dict[str, str]:
        """Return what is doubtful about a cell, by doubt."""
        cell, processes = self.behind(case, metric), self.processes(case, metric)
        mine, anchors = cell.good(), self.behind(self.anchor(case, metric), metric).good()
        # Launches that the anchor has too, or all if the anchor has none of them.
        numbers = [number for number in mine if number in anchors] or list(mine)
        evidence = Evidence(
            case,
            metric,
            [mine[number] for number in numbers],
            [processes[number] for number in numbers if number in processes],
            self.counted(case),
            self.counted(self.anchor(case, metric)),
            self.launch_counts.get(cell.series),
            self.drift(case, metric),
            self._alike.get(case.arm, {}),
            self.without_own.get((self.comparison(case, metric).label, self.source(metric).key)),
            anchor_s=self._typical_s.get((self.anchor(case, metric).id, self.source(metric).key)),
            timed=bool(metric.measured_by) and self.made_in(metric).times,
            audited=self._audited(case),
        )
        found = {name: doubt.check(evidence) for name, doubt in self.doubts.items()}
        return {name: said for name, said in found.items() if said}

    def _audited(self, case: Case) -> Mapping[Label, str]:
        """Sentences of the audit of a case's arm by the label that they bring."""
        audit = self.audit(case)
        return {} if audit is None or audit.card is None else audits.by_label(audit.card)

    def audit(self, case: Case) -> AuditFinding | None:
        """Return the audit of a case's arm; None where there is none."""
        return self.audits.get(self._audited_as(case.original))

    def _audited_as(self, case: Case) -> str:
        """The arm that is audited for a case: sizes of a sweep are one."""
        return case.arm if self.suite.isoflop is None else case.variant

    def disturbed(self, case: Case, metric: Metric) -> float:
        """Return the mean share of a case's blocks, over its launches, in which it was disturbed; 0 for what is no time."""
        if not self.made_in(metric).times or not (found := self.processes(case, metric)):
            return 0.0
        return fmean(each.disturbed[case.id] for each in found.values())

    def labels(self, case: Case, metric: Metric) -> list[Label]:
        """Return the labels of an arm in every output, such as `not autoregressive as measured`."""
        labels = (self.doubts[name].label for name in self.doubts_about(case, metric))
        doubted = [label for label in labels if label is not None]
        # Other units of the run ran other versions of the files that its units ran.
        changed = [Label.CODE_CHANGED] * bool(self.changed & self.code_versions(case, metric).keys())
        return [Label.DAMAGED] * bool(self.damaged(case, metric)) + doubted + changed

    def code_versions(self, case: Case, metric: Metric) -> provenance.Versions:
        """Return the versions of the user's files that a number was made with."""
        return self.behind(case, metric).versions

    def damaged(self, case: Case, metric: Metric) -> str | None:
        """Return what is wrong with a file that this number, or a check of the case, should have come from; or None."""
        cells = (self.behind(case, metric), self.cell(case.original.id, CARRIER))
        return next((str(o.reason) for cell in cells for _, o in cell.outcomes if o.kind == "damaged"), None)

    def row_labels(self, case: Case, metric: Metric) -> list[Label]:
        """Return the labels of a row: the arm's, and what else must be known about this number."""
        found = self.labels(case, metric)
        notes = next(iter(self.cell(case.id, metric.key).notes(TrainNotes)), None)
        if notes is not None and notes.sees_future and metric.key != CAUSAL_LOSS:
            found.insert(0, Label.NOT_AUTOREGRESSIVE if case.is_user_model else Label.SAW_FUTURE)
        return list(dict.fromkeys(found))

    def escapes(self, metric: Metric, *sides: Case) -> Reason | None:
        """Return the label that says that work of a case may be done where its time does not see it; None without one."""
        found = (label for side in sides for label in self.row_labels(side, metric) if label in ESCAPED)
        return next((Reason("said", said=str(label)) for label in found), None)

    def independent(self, metric: Metric, case: Case, baseline: Case) -> Contrast:
        """Compare two cases that took no turns, by the own times of their processes."""
        base, new = (self._own_times(side, metric) for side in (baseline, case))
        disturbed = max(self.disturbed(side, metric) for side in (case, baseline))
        seen = Seen(disturbed, self.cpu_unfit(metric, case, baseline)) if self.made_in(metric).times else Seen()
        return contrast(base, new, "independent", Rule("time", self.suite.margin, estimand=metric.estimand), seen)

    def _own_times(self, case: Case, metric: Metric) -> Side:
        """Return the logarithms of a case's time in each process, by both clocks; of a rate those of the time of one token."""
        made_in, by = self.made_in(metric), math.log(self.factor(case, metric)) if metric.source else 0.0

        def clock(column: str) -> ByClock:
            times = dict(enumerate(self.log_times(case, metric, column)))
            median, mean = ({number: each[which] - by for number, each in times.items()} for which in (0, 1))
            if metric.quantile or metric.source:
                return ByClock(mean if metric.estimand == "mean" else median)
            return ByClock(median, mean) if metric.estimand == "median" else ByClock(mean, median)

        return Side(clock(made_in.column), clock("cpu_s") if case.place.one_thread and made_in.times else None)

    def cpu_unfit(self, metric: Metric, *sides: Case) -> Reason | None:
        """Return why no verdict on these cases may rest on CPU time; None where it may."""
        if not self.made_in(metric).times or not all(side.place.one_thread for side in sides):
            return SEVERAL_THREADS
        waits = ([each.waits[side.id] for each in self.processes(side, metric).values()] for side in sides)
        return self.escapes(metric, *sides) or paired.unfit_of(waits)

    def log_times(self, case: Case, metric: Metric, column: str) -> list[tuple[float, float]]:
        """Return logarithms of a case's typical and of its mean time, in each launch; none where a launch lacks the column."""
        found = [*self.beside(case, metric).values()]
        arms = (each.arms[arm] for each in found for arm in {case.id, each.anchor} & each.arms.keys())
        if not all(all(samples.get(column, (0.0,))) for samples in arms):
            return []
        return [(each.by(column).typical[case.id], each.by(column).mean[case.id]) for each in found]

    def case_columns(self, case: Case, metric: Metric) -> Mapping[str, Any]:
        """Return the columns that identify what was measured."""
        seeds = self.seed_sets(metric).seeds if self.made_in(metric).samples == "seeds" else self.suite.seeds[:1]
        return {
            "case_id": case.id,
            "arm": case.arm,
            "model": case.model,
            "capacity": case.config.capacity,
            "depth_ratio": self.counted(case).depth_ratio,
            **case.place.model_dump(include={"seq_len", "batch_size", "device", "dtype", "compile", "threads"}),
            "workload": metric.workload,
            "seed": " ".join(map(str, seeds)),
            "params": self.counted(case).params,
            "effort": self.suite.effort,
            "config": case.config_diff(),
            "arm_title": name(case),
            NEW_TOKENS: case.place.new_tokens or None,
        }


@dataclass(frozen=True)
class Derived:
    """What a derived metric is computed from, besides the seconds of its source."""

    tables: Tables
    case: Case
    metric: Metric

    @property
    def tokens(self) -> float:
        """Tokens of one call or decode step."""
        source = self.tables.cell(self.case.id, self.metric.source)
        return float(next(notes.tokens for notes in source.notes(TimeNotes) if notes.tokens is not None))

    @property
    def peak(self) -> float | None:
        """The machine's measured peak in FLOP/s, for the case's number format."""
        return self.tables.peaks.get(self.case.place.dtype)

    @property
    def peak_reason(self) -> str:
        """Why there is no peak."""
        return f"no peak of this machine was measured for {self.case.place.dtype}"

    @property
    def counted(self) -> CountNotes:
        """Notes of the counting pass about the case."""
        return self.tables.counted(self.case)


def _alike(tables: Tables) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return, by arm, the arms of its model that agree with it bit for bit, each with the settings that differ."""
    arms = grouped((case.arm, case) for case in tables.plan.cases)
    known = ((first, frozenset(_numbers(tables, [first, *rest]))) for first, *rest in arms.values())
    enough = ((case, numbers) for case, numbers in known if {what for _, what, _, _ in numbers} >= NEEDED)
    groups = grouped(((case.model, numbers), case) for case, numbers in enough)
    return {
        case.arm: {other.arm: keys for other in group if (keys := _differing(case, other))}
        for group in groups.values()
        for case in group
    }


def _numbers(tables: Tables, cases: Sequence[Case]) -> Iterator[Number]:
    """What an arm computes, at each of its places: counts, and whatever training ends with. Times and bytes are left out."""
    for case in cases:
        where = f"{case.place.label} {case.task} {case.budget}"
        params = tables.counted(case).params
        if params is not None:
            yield where, "params", 0, (float(params),)
        for key, metric in tables.metrics.items():
            trained = bool(metric.measured_by) and tables.made_in(metric).samples == "seeds"
            if (trained or key.startswith("flops/")) and (case.id, key) in tables.cells:
                for number, outcome in tables.cells[case.id, key].outcomes:
                    yield where, key, number, tuple(outcome.samples.get("value", ()))


def _differing(one: Case, other: Case) -> tuple[str, ...]:
    """The settings in which two arms differ, without those that only matter to a model that generates."""
    mine, theirs = ({**case.config.model_dump(), **case.given} for case in (one, other))
    keys = dict.fromkeys((*mine, *theirs))
    return tuple(key for key in keys if mine.get(key) != theirs.get(key) and key not in GENERATION_KEYS)
