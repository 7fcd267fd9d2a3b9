"""Measures of each row of cells those that lie around the length from which on a variant is faster.

A row holds one variant's cells from the shortest length to the longest. A search halves it until it knows between which two
neighbours the variant's effect changes its sign. Then it goes outwards from these two, cell by cell, as long as the interval
of the last one includes 0: so the length where the variant breaks even has a decided cell on both sides, where the row has
one.

The rule reads only what was measured, not in which order: whoever applies it again to the same effects gets the same cells.
Nothing is random in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from modbench.extend import (
    LEFT_OUT,
    AdaptiveRule,
    Case,
    Comparison,
    Frozen,
    Job,
    Record,
    counted,
    effects,
    paired,
    samples_in_process,
)
from modbench.extend import AdaptiveDecision as Decision
from modbench.plugins.search.table import SearchPlan

if TYPE_CHECKING:
    from modbench.extend import Plan, Suite

# Where each axis stands in the label of a place.
PARTS = {"seq_len": 0, "batch_size": 1}


@dataclass
class Cell:
    """One cell of a row.

    Attributes:
        series: what its processes share.
        at: its value on the axis.
        comparison: its variants.
        jobs: its processes.
    """

    series: str
    at: int
    comparison: Comparison
    jobs: list[Job] = field(default_factory=list)

    def others(self, against: Sequence[str]) -> list[Case]:
        """The variants that its variant is held against: the baseline, and the matched baselines that were solved for it."""
        anchor, *rest = (case for case in self.comparison.variants if not case.aa_control)
        matched_baselines = [case for case in rest if case.matched]
        return [anchor] * ("same shape" in against) + matched_baselines * ("matched" in against)

    def readings(self, against: Sequence[str], records: Mapping[str, Record]) -> list[Reading]:
        """The readings of its variant against each other variant, from the records of its processes."""
        variant = next(case for case in reversed(self.comparison.variants) if not case.aa_control)
        processes = [records[job.name] for job in self.jobs]
        return [_reading([_effect(process, variant, other) for process in processes]) for other in self.others(against)]


def _effect(record: Record, variant: Case, other: Case) -> float | str:
    """Return the log-effect of the first metric measured, above 0 where the variant is slower; else why there is none."""
    made = samples_in_process(record, variant, other)
    if isinstance(made, str):
        return made
    pair = paired.numbers([made], column=record.job.facts.column, one_thread=False, averaged=False)
    return next((-effect for effect in pair.effects()), f"{variant.variant} and {other.variant} share no block")


@dataclass(frozen=True)
class Row:
    """Cells of one variant and workload, ascending along the axis.

    Attributes:
        against: what the variant must beat.
        cells: the cells.
    """

    against: tuple[str, ...]
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, search: SearchPlan, jobs: Sequence[Job]) -> Row:
        """The row that the jobs of a group are processes of."""
        cells: dict[str, Cell] = {}
        for job in sorted(jobs, key=lambda job: job.process):
            at = int(getattr(job.comparison.grid_point, search.axis))
            cells.setdefault(job.series, Cell(job.series, at, job.comparison)).jobs.append(job)
        return cls(search.against, tuple(sorted(cells.values(), key=lambda cell: cell.at)))

    @property
    def others(self) -> tuple[str, ...]:
        """The variants that the row's variant is held against, in every cell the same."""
        return tuple(case.variant for case in self.cells[0].others(self.against))


def rows_of(plan: Plan) -> dict[str, Row]:
    """The rows that a suite searches, by name; none if it measures its whole grid."""
    search = SearchPlan.of(plan.suite)
    if search is None:
        return {}
    return {name: Row.of(search, jobs) for name, jobs in plan.members("bisection").items()}


class BisectionRule(AdaptiveRule[Frozen]):
    """Asks for cells of a row: all processes of a cell at once."""

    unasked = ("not measured: the search has not ended", LEFT_OUT)

    def groups(self, suite: Suite, jobs: Sequence[Job]) -> dict[str, list[Job]]:
        """Return the processes of each row."""
        found: dict[str, list[Job]] = {}
        search = SearchPlan.of(suite)
        for job in jobs if search is not None else ():
            if job.series and job.facts.times and job.comparison.partial:
                assert search is not None
                elsewhere = job.comparison.grid_point.label.split("-")
                del elsewhere[PARTS[search.axis]]
                name = "-".join((job.workload, job.comparison.name, *elsewhere))
                found.setdefault(name, []).append(job)
        return found

    def is_conditional(self, suite: Suite, job: Job) -> bool:  # noqa: ARG002  # as every rule
        """Whether the job runs only if it is asked for: every one."""
        return True

    def shares(self, suite: Suite, jobs: Sequence[Job]) -> tuple[float, float]:
        """Return about the share of its cells that a search measures, and all."""
        row = Row.of(SearchPlan.settled(suite), jobs)
        return usual(len(row.cells), len(row.others)) / len(row.cells), 1.0

    def decide(self, suite: Suite, jobs: Sequence[Job], records: Mapping[str, Record]) -> Decision:
        """Ask for the cells that are needed next, given those that were measured."""
        row = Row.of(SearchPlan.settled(suite), jobs)
        measured = {
            at: cell.readings(row.against, records)
            for at, cell in enumerate(row.cells)
            if all(job.name in records for job in cell.jobs)
        }
        known = [{at: readings[i] for at, readings in measured.items()} for i in range(len(row.others))]
        more = next_cells_of_all(len(row.cells), known)
        asked = [job.name for at in more for job in row.cells[at].jobs]
        return Decision(asked, why=counted(len(measured) + len(more), "cell"))


def _reading(processes: Sequence[float | str]) -> Reading:
    """The reading of a cell from the effects of its processes. A single process has no interval, and counts as decided."""
    effects_ = [-each for each in processes if isinstance(each, float)]
    if len(effects_) < len(processes):
        return Reading(None, decided=True)
    effect = effects.over_processes(effects_)
    undecided = effect.low is not None and effect.high is not None and effect.low <= 0 <= effect.high
    return Reading(effect.value >= 0, decided=not undecided)


RULE = BisectionRule()


class Reading(NamedTuple):
    """The result of a cell for a variant against another.

    Attributes:
        pays: whether the effect is at least 0; None if the cell has no number.
        decided: whether its interval excludes 0.
    """

    pays: bool | None
    decided: bool


# The readings of one variant against one other, by the cell's place in its row.
Readings = Mapping[int, Reading]


class Bracket(NamedTuple):
    """Where the sign changes.

    Attributes:
        below: the last cell that does not pay; -1 if there is none.
        above: the first that pays, or that has no number; the number of cells if there is none.
        wanted: the cell that must be measured to know more; None if the two are neighbours.
    """

    below: int
    above: int
    wanted: int | None


def bracket(cells: int, known: Readings) -> Bracket:
    """Halve a row as far as its readings allow.

    A cell without a number counts as the end of the row: what does not run at a length does not run at a longer one.
    """
    below, above = -1, cells
    while above - below > 1:
        middle = (below + above) // 2
        if middle not in known:
            return Bracket(below, above, middle)
        below, above = (middle, above) if known[middle].pays is False else (below, middle)
    return Bracket(below, above, None)


def next_cells(cells: int, known: Readings) -> list[int]:
    """Return the cells to measure next; none if the search has ended."""
    found = bracket(cells, known)
    if found.wanted is not None:
        return [found.wanted]
    asked = []
    for at, step in ((found.below, -1), (found.above, 1)):
        while at in known and known[at].pays is not None and not known[at].decided:
            at += step  # noqa: PLW2901  # it walks
        if 0 <= at < cells and at not in known:
            asked.append(at)
    return asked


def next_cells_of_all(cells: int, targets: Sequence[Readings]) -> list[int]:
    """Return the cells that any of several searches along one row measures next, ascending: a cell serves them all."""
    return sorted({at for known in targets for at in next_cells(cells, known)})


def usual(cells: int, targets: int) -> int:
    """Return about how many cells of a row the searches for so many other variants measure (benchmarks/search.py)."""
    return min(cells, math.ceil(math.log2(cells + 1)) + targets)
