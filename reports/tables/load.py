"""Reads a run folder and makes its tables, the input of every section; which of its variants a report is about."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import pandas as pd

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError
from modbench.harness.core.group_by import grouped
from modbench.harness.domain.case import Case, GridPoint, Job, MatchedBaseline
from modbench.harness.domain.records import Record
from modbench.harness.domain.suite import Suite
from modbench.harness.machine.certificate import VERDICTS, Certificate
from modbench.harness.machine.process.clocks import union_s
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.pooled_seeds import pooled
from modbench.harness.results.run_file import StoredRun
from modbench.reports.tables import cases, comparisons, provenance
from modbench.reports.tables.claims import AAControls, has_evidence
from modbench.reports.tables.titles import titled
from modbench.reports.tables.values import Tables

# Lengths and variants that figures, tiles and the terminal show at most; of more, so many that lie evenly among them.
MOST_LENGTHS, MOST_VARIANTS = 12, 24
Shown = TypeVar("Shown")
Made = TypeVar("Made")


class Row(Protocol):
    """A row of a table as a named tuple: its columns are its attributes, and pandas knows no more of their types."""

    def __getattr__(self, column: str, /) -> Any:  # noqa: ANN401  # a cell
        """The cell of a column."""


@dataclass(frozen=True, repr=False)
class Loaded:
    """A run with its tables.

    Attributes:
        run: plan, environment and records.
        tables: outcomes by case and metric.
        cases: `cases.csv`.
        pairs: `comparisons.csv` with extra columns: every pair of variants, those with the report's baseline first.
    """

    run: StoredRun
    tables: Tables
    cases: pd.DataFrame
    pairs: pd.DataFrame

    def __repr__(self) -> str:
        return f"<modbench tables of {str(self.path)!r}>"

    @cached_property
    def found(self) -> dict[object, Any]:
        """What questions found in this run, by the function that did (`once_a_run`)."""
        return {}

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The rows of `pairs` against the report's baseline."""
        return self.pairs[self.pairs.primary]

    @cached_property
    def aa_controls(self) -> pd.DataFrame:
        """The rows of `pairs` that compare a suite's baseline with its A/A control: a check of the machine."""
        return self.pairs[self.pairs.aa_control]

    @property
    def aa_control_verdicts(self) -> AAControls:
        """Verdicts and labels of the A/A controls."""
        return [*zip(self.aa_controls.verdict, self.aa_controls.labels, strict=True)]

    @property
    def checked(self) -> bool:
        """Whether a certificate or an A/A control says what verdicts on this run's times are worth."""
        return self.certificate is not None or has_evidence(self.aa_control_verdicts)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def plan(self) -> Plan:
        """What was to be measured."""
        return self.run.plan

    @cached_property
    def whole_plan(self) -> Plan:
        """The plan with every job that a rule may still request."""
        return self.plan.model_copy(update={"jobs": self.run.planned})

    @property
    def suite(self) -> Suite:
        """What the plan was made from."""
        return self.run.plan.suite

    @property
    def sizes_differ(self) -> bool:
        """Whether variants are measured in several sizes: a speed-up of one size over another compares nothing."""
        return self.plan.sizes_differ

    @cached_property
    def records(self) -> dict[str, Record]:
        """The records by the names of their jobs."""
        return {record.job.name: record for record in self.run.records}

    @property
    def measured(self) -> bool:
        """Whether any cell has a value; False where every one failed, was skipped or has no record."""
        return bool((self.cases.status == "ok").any())

    @property
    def alone(self) -> bool:
        """Whether it has one variant, at whatever lengths, so that nothing is compared."""
        return len(self.variants) == 1 and not self.sizes_differ

    @property
    def evaluates_only(self) -> bool:
        """Whether losses are those of weights as they were stored, from no seed."""
        train = self.suite.train
        return train is not None and train.steps == 0

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that the suite asks for."""
        return [self.tables.metrics[key] for key in self.suite.metrics]

    @property
    def timed(self) -> set[str]:
        """The workloads that it asks to time."""
        return {metric.workload for metric in self.metrics if self.tables.made_in(metric).times}

    @property
    def failed(self) -> pd.DataFrame:
        """Rows of `cases` that failed."""
        return self.cases[self.cases.status == "failed"]

    @cached_property
    def variants(self) -> list[Case]:
        """One case of every variant: the baseline, then the smaller dense models and the rest in the plan's order."""
        baseline = self.tables.baseline_of(self.plan.comparisons[0])
        return sorted(one_of_each(self.plan.cases), key=lambda case: case.variant != baseline.variant)

    @cached_property
    def cases_by_id(self) -> dict[str, Case]:
        """All cases, A/A controls included, by their id."""
        every = [case for comparison in self.plan.comparisons for case in comparison.timed.variants]
        return {case.id: case for case in [*self.plan.cases, *every]}

    @property
    def baseline(self) -> Case:
        """The variant that the others are compared with, as it was first planned."""
        return self.variants[0]

    @property
    def variants_shown(self) -> list[Case]:
        """The variants that figures and tiles show besides the baseline: all, or of many some of each kind."""
        few = subsample_evenly([case for case in self.variants[1:] if case.matched], MOST_VARIANTS // 3)
        shown = {case.variant for case in (*few, *subsample_evenly(contenders(self), MOST_VARIANTS - len(few)))}
        return [case for case in self.variants[1:] if case.variant in shown]

    @property
    def shown(self) -> list[Case]:
        """The baseline, then these."""
        return [self.baseline, *self.variants_shown]

    @property
    def lengths_shown(self) -> list[int]:
        """The sequence lengths that figures and tiles show: all, or some that lie evenly among many."""
        return subsample_evenly(self.lengths, MOST_LENGTHS)

    @cached_property
    def lengths(self) -> list[int]:
        """Sequence lengths of the grid, ascending; if the run only trained, the training length; of a search those it timed.

        Prompts of end-to-end requests are lengths where nothing else has any.
        """
        grids = (self.cases[~self.cases.workload.isin(others)] for others in (["train", "request"], ["train"]))
        measured = next((rows for rows in grids if not rows.empty), self.cases)
        if any(each.partial for each in self.plan.comparisons):
            timed = measured[(measured.unit == "s") & (measured.status != "skipped")]
            measured = measured if timed.empty else timed
        return sorted(measured.seq_len.unique().tolist())

    @cached_property
    def certificate(self) -> Certificate | None:
        """The machine's certificate at the start of the run; of several machines the worst; None if one was never checked."""
        return min(provenance.certificates(self.run), key=lambda each: VERDICTS.index(each.verdict), default=None)

    @property
    def inside(self) -> float | None:
        """Share of the wall time spent measuring or training; None if the run did not finish or was resumed."""
        finished = self.run.finished
        if not finished or finished.get("resumed") or not finished["wall_s"]:
            return None
        busy = union_s(interval for record in self.run.records for interval in record.busy)
        return busy / float(finished["wall_s"])

    @property
    def parent_share(self) -> float | None:
        """CPU time of the parent process during timed jobs, as a share of their wall time; None if nothing was timed."""
        finished = self.run.finished
        if not finished or not finished["timed_wall_s"]:
            return None
        return float(finished["parent_cpu_s"] / finished["timed_wall_s"])

    @cached_property
    def labelled(self) -> dict[str, list[Case]]:
        """The variants by label, such as `not usable for generation`."""
        asked = ((case, self.tables.value(case, metric)) for _, metric, case in self.tables.asked())
        labels = grouped((label, case) for case, value in asked for label in value.variant_labels)
        return {label: one_of_each(cases) for label, cases in labels.items()}

    @property
    def trained_metric(self) -> str | None:
        """A requested metric of the training runs on a corpus, any of which holds the training curve; None if there is none.

        None too where stored weights were to be evaluated, and no model has any.
        """
        trained = (m.key for m in self.metrics if self.tables.made_in(m).samples == "seeds" and not m.planned_by)
        measured = set(self.cases[self.cases.status == "ok"].metric)
        return next((key for key in trained if key in measured or not self.evaluates_only), None)

    @property
    def runs(self) -> list[Job]:
        """Jobs that train on a corpus, one for each case and seed."""
        return [job for job in self.plan.jobs if job.of_corpus]

    @cached_property
    def values(self) -> dict[tuple[str, str], float]:
        """The measured values by case id and metric."""
        rows: Iterator[Row] = self.cases[self.cases.status == "ok"].itertuples(index=False)
        return {(row.case_id, row.metric): float(row.value) for row in rows}

    @cached_property
    def _pairs(self) -> dict[tuple[str, frozenset[str]], list[Row]]:
        """Rows of `pairs` by metric and the two variants."""
        rows: Iterator[Row] = self.pairs.itertuples(index=False)
        return grouped(((row.metric, frozenset((row.variant, row.baseline_variant))), row) for row in rows)

    @cached_property
    def _primary(self) -> dict[tuple[str, str, GridPoint | int | None], Row]:
        """Of the rows against the baseline the first of each metric and variant, by place, by length, and of all."""
        return self._first(self.comparisons.itertuples(index=False))

    @cached_property
    def _cases(self) -> dict[tuple[str, str, GridPoint | int | None], Row]:
        """The same of `cases`."""
        return self._first(self.cases.itertuples(index=False))

    def _first(self, rows: Iterable[Row]) -> dict[tuple[str, str, GridPoint | int | None], Row]:
        found: dict[tuple[str, str, GridPoint | int | None], Row] = {}
        for row in rows:
            for where in (self.cases_by_id[row.case_id].grid_point, int(row.seq_len), None):
                found.setdefault((row.metric, row.variant, where), row)
        return found

    def between(self, metric: str, variant: str, baseline: str) -> list[Row]:
        """Return the rows of `pairs` that compare the two variants, in either direction, as named tuples."""
        return self._pairs.get((metric, frozenset((variant, baseline))), [])

    def pair(self, variant: str, metric: str, where: GridPoint | int | None = None) -> Row | None:
        """Return the row that compares a variant with the report's baseline at a grid point, or None.

        At a length alone it is that of the first batch size and number format, without one the first of all.
        """
        return self._primary.get((metric, variant, where))

    def case(self, variant: str, metric: str, where: GridPoint | int | None = None) -> Row | None:
        """Return the row of `cases` of a variant there, or None."""
        return self._cases.get((metric, variant, where))

    def value(self, variant: str, metric: str, seq_len: int | None = None) -> float | None:
        """Return the measured value of a variant, or None."""
        row = self.case(variant, metric, seq_len)
        return None if row is None or row.status != "ok" else float(row.value)


def once_a_run(find: Callable[[Loaded], Made]) -> Callable[[Loaded], Made]:
    """Make a question that several outputs ask find its results in a run once."""

    @functools.wraps(find)
    def found(loaded: Loaded) -> Made:
        if find not in loaded.found:
            loaded.found[find] = find(loaded)
        made: Made = loaded.found[find]
        return made

    return found


def one_of_each(cases: Iterable[Case]) -> list[Case]:
    """Return of each variant the first case."""
    return [first for first, *_ in grouped((case.variant, case) for case in cases).values()]


def subsample_evenly(values: Sequence[Shown], most: int) -> list[Shown]:
    """Return all values if they are at most so many, else so many that lie evenly among them: the ends included."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def contenders(loaded: Loaded) -> list[Case]:
    """Variants that could replace the baseline: not the matched baselines."""
    return [case for case in loaded.variants[1:] if not case.matched]


def default_variant(loaded: Loaded) -> Case | None:
    """Return the variant to show first: MoD with the lowest capacity, else the first that is no baseline."""
    others = contenders(loaded)
    routed = sorted((case for case in others if case.model == "mod"), key=lambda case: case.config.capacity or 1.0)
    return next(iter([*routed, *others]), None)


class Beside(NamedTuple):
    """A dense variant that costs as much as another variant, and how it was solved."""

    case: Case
    matched: MatchedBaseline


def matched_beside(loaded: Loaded, case: Case) -> Beside | None:
    """Return the matched baseline, of several that of equal forward FLOPs: the alternative to the variant."""
    by_variant = {other.variant: other for other in loaded.variants}
    solved = sorted(loaded.plan.matched_baselines, key=lambda matched: matched.quantity != "flops/forward")
    found = (each for each in solved if each.target == case.variant and each.variant in by_variant)
    return next((Beside(by_variant[matched.variant], matched) for matched in found), None)


def same_shape(baseline: Case) -> bool:
    """Whether a baseline is dense of the variants' shape: what shape a user's model has is not known."""
    return baseline.config.capacity is None and not baseline.matched and not baseline.is_user_model


def load(
    folder: str | Path,
    baseline: str | None = None,
    *,
    all_pairs: bool = False,
    title: Mapping[str, str] | None = None,
    lacking: dict[str, UsageError] | None = None,
    pool: Iterable[str | Path] = (),
) -> Loaded:
    """Read a run folder.

    Args:
        folder: the run folder.
        baseline: the variant that others are compared with; None: the suite's baseline.
        all_pairs: whether any two variants are compared however many pairs that makes (`comparisons.MOST_PAIRS`).
        title: titles of variants, in place of those that the run has.
        lacking: takes what is wrong with titles of variants that it does not have; None: it is raised.
        pool: run folders with other seeds of the same cases, which are added.

    Raises:
        UsageError: if it is not a run folder, is damaged, has no such variant, or cannot be pooled with the others.
    """
    run = run_folder.read(str(folder))
    if others := [run_folder.read(str(each)) for each in pool]:
        run = pooled(run, others)
    run = replace(run, plan=titled(run.plan, title, lacking)) if title else run
    tables = Tables(run, baseline)
    return Loaded(run, tables, *tables_of(tables, all_pairs=all_pairs))


def load_all(folders: Sequence[str], title: Mapping[str, str]) -> list[Loaded]:
    """Read several runs; each takes the titles of variants that it has.

    Raises:
        UsageError: if one is not a run folder or is damaged, or none has a variant of a title.
    """
    lacking = [dict[str, UsageError]() for _ in folders]
    found = [load(folder, title=title, lacking=each) for folder, each in zip(folders, lacking, strict=True)]
    for variant, error in lacking[0].items():
        if all(variant in each for each in lacking):
            raise error
    return found


def tables_of(tables: Tables, *, all_pairs: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `cases.csv` and `comparisons.csv`."""
    return cases.case_table(tables), comparisons.comparison_table(tables, all_pairs=all_pairs)
