"""What a run measured: its jobs, and of each metric of a case one sample for each process or seed.

Raw calls and notes stand behind a sample (`cell.py`). What a process says of all its variants is computed at once
(`harness/stats/against_baseline.py`); `comparisons.py` subtracts two variants.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case, GridPoint, Job
from modbench.harness.domain.notes import Notes, PeakFinding, RooflineFinding, SomeNotes
from modbench.harness.domain.records import Record
from modbench.harness.machine.roofline.table import Table
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results.run_file import StoredRun
from modbench.harness.stats.against_baseline import Process
from modbench.reports.tables import provenance
from modbench.reports.tables.cell import Cell


@dataclass(frozen=True)
class PlannedJob:
    """A planned job.

    Attributes:
        job: the job.
        number: its process or seed; processes of one baseline in several comparisons are numbered on.
        record: what it left; None: nothing.
        left_out: why no rule asked for it; None: it was asked for.
    """

    job: Job
    number: int
    record: Record | None = None
    left_out: str | None = None

    @property
    def wall_s(self) -> float | None:
        """Seconds that it took; None where it left nothing."""
        return None if self.record is None else self.record.wall_s


def jobs(run: StoredRun) -> Iterator[PlannedJob]:
    """Yield the jobs that were planned or asked for, then those that no rule asked for."""
    records = {record.job.name: record for record in run.records}
    apart = _first_processes(run.plan)
    asked, undecided = ({job.name for job in jobs} for jobs in (run.plan.jobs, run.undecided))
    for job in run.plan.jobs:
        process = apart.get(job.comparison.label, 0) + job.process
        yield PlannedJob(job, job.protocol.seed if job.facts.samples == "seeds" else process, records.get(job.name))
    for job in run.planned:
        if job.rule and job.name not in asked:
            yield PlannedJob(job, job.process, left_out=_unasked(job.rule)[job.name not in undecided])


def _first_processes(plan: Plan) -> dict[str, int]:
    """A number for the first process of each partial comparison, by its label.

    Those at one grid point share a baseline but not its processes: numbered on, each process of it has a number of its own.
    """
    found: dict[str, int] = {}
    seen: Counter[GridPoint] = Counter()
    for comparison in plan.comparisons:
        if comparison.partial:
            found[comparison.label] = seen[comparison.grid_point] * plan.suite.processes_limit
            seen[comparison.grid_point] += 1
    return found


def _unasked(rule: str) -> tuple[str, str]:
    """Why a job that a rule has not asked for has no value: before the rule has ended, and after."""
    own: tuple[str, str] | None = catalogue.load("adaptive_rules", rule).unasked
    return own or (f"not measured: {rule} has not ended", f"not measured: {rule} did not ask for it")


class Samples:
    """The samples of a run.

    Attributes:
        run: the stored run.
        metrics: every known metric by its key.
        cells: the samples of each metric of a case, by its id and the metric's key.
        peaks: the machine's measured peak in FLOP/s by number format; `rooflines` those by shape.
        findings: what jobs found that belongs to no metric, by comparison.
        changed: files of the user's of which the run's jobs ran several versions.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run, self.metrics = run, catalogue.metrics()
        self.cells = defaultdict[tuple[str, str], Cell](Cell)
        self.peaks: dict[str, float] = {}
        self.rooflines: dict[str, Table] = {}
        self.findings = defaultdict[str, list[Notes]](list)
        self._labelling = {name: each for name, each in catalogue.passes().items() if each.labels}
        self._found = defaultdict[str, dict[str, Mapping[Label, str]]](dict)
        self._processes = defaultdict[tuple[str, str], dict[int, Process]](dict)
        self._anchors_s: dict[tuple[object, ...], float | None] = {}
        self.jobs = [*jobs(run)]
        for planned in self.jobs:
            if planned.record is not None:
                self._take(planned, planned.record)
                continue
            for case in planned.job.comparison.variants:
                for made in planned.job.facts.makes:
                    cell = self.cell(case.id, made.key)
                    cell.left_out = planned.left_out or cell.left_out
                    cell.missing += [planned.job.name] * (planned.left_out is None)
        versions = provenance.joined_versions(cell.versions for cell in self.cells.values())
        self.changed = frozenset(provenance.mixed_versions(versions))

    def _take(self, planned: PlannedJob, record: Record) -> None:
        findings, anchor = record.findings, record.job.comparison.variants[0]
        if isinstance(findings, PeakFinding):
            self.peaks[findings.dtype] = findings.flop_per_s
        if isinstance(findings, RooflineFinding):
            self.rooflines[findings.table.dtype] = findings.table
        if findings is not None:
            self.findings[record.job.comparison.label].append(findings)
        made_in = self._labelling.get(record.job.made_in)
        if made_in is not None:
            said = {} if findings is None else made_in.labelled(findings)
            self._found[self._found_as(anchor)][made_in.name] = said
        nodes, blocks = provenance.nodes_named(record), {each.group: each.columns for each in record.blocks}
        for outcome in record.outcomes:
            cell = self.cell(outcome.case, outcome.metric)
            cell.outcomes.append((planned.number, outcome))
            cell.series = planned.job.series
            cell.nodes |= nodes
            if record.code:
                more = provenance.versions_of_outcome(record, outcome)
                cell.versions = provenance.joined_versions([cell.versions, more])
        if record.job.facts.samples == "processes":
            good = grouped((each.metric, each) for each in record.outcomes if each.status == "ok")
            for key, outcomes in good.items():
                variants = {each.case: each.samples for each in outcomes}
                group = self.metrics[key].group if key in self.metrics else ""
                self._processes[anchor.id, key][planned.number] = Process(variants, anchor.id, blocks.get(group))

    def cell(self, case_id: str, metric: str) -> Cell:
        """Return the samples of a metric of a case, none if nothing was measured."""
        return self.cells[case_id, metric]

    def values_of(self, case: Case, key: str) -> dict[int, float]:
        """Return the value of a metric by seed (or process), of those that have one value each."""
        return self.cell(case.id, key).values()

    def samples_of(self, case: Case, key: str) -> dict[int, dict[str, list[float]]]:
        """Return the raw samples behind a metric of a case by process (or seed): columns with one row for each sample."""
        return {number: outcome.samples for number, outcome in self.cell(case.id, key).good().items()}

    def notes_of(self, case: Case, key: str, kind: type[SomeNotes]) -> list[SomeNotes]:
        """Return the notes of one kind beside a metric of a case, in the order of its processes or seeds."""
        return self.cell(case.id, key).notes(kind)

    @property
    def code(self) -> provenance.Versions:
        """The versions of the user's files that the run's jobs ran."""
        return provenance.joined_versions(map(provenance.versions_of_record, self.run.records))

    def processes_of(self, case: Case, anchor: Case, metric: Metric) -> dict[int, Process]:
        """Return the processes that timed a case, with all variants of its comparison, by number."""
        found = self._processes.get((anchor.id, metric.source or metric.key), {})
        return {number: each for number, each in found.items() if case.id in each.variants}

    def baseline_s(self, anchor: Case, metric: Metric, processes: Sequence[int]) -> float | None:
        """Return the median seconds of a call of a suite's baseline in some processes; None where it was not timed."""
        key = (anchor.id, metric.source or metric.key, *processes)
        if key not in self._anchors_s:
            timed = self.processes_of(anchor, anchor, metric)
            walls = [timed[each].variants[anchor.id]["wall_s"] for each in processes if each in timed]
            self._anchors_s[key] = median(chain.from_iterable(walls)) if walls else None
        return self._anchors_s[key]

    def audited(self, case: Case) -> dict[Label, str]:
        """Return sentences about a case's variant from the findings of passes, by the label that they bring."""
        return {label: said for each in self._found[self._found_as(case)].values() for label, said in each.items()}

    def unaudited(self, case: Case) -> frozenset[Label]:
        """Return the labels that the run cannot have of a case's variant: no job of the pass that brings them was about it."""
        found = self._found[self._found_as(case)]
        return frozenset(label for name, each in self._labelling.items() if name not in found for label in each.labels)

    def _found_as(self, case: Case) -> str:
        """The variant that findings are about: its sizes are one."""
        return case.original.family
