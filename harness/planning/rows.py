"""The rows that a suite searches: cells of one arm and workload along one axis, and the arms that it is held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case, Comparison, Place, UnitOfWork
from modbench.harness.core.ids import slug
from modbench.harness.planning import bisection
from modbench.harness.planning.check_search import searched_keys
from modbench.harness.planning.confirming import confirmation_of, confirms

if TYPE_CHECKING:
    from modbench.harness.planning.suite import Suite

# Where each axis stands in the label of a place.
PARTS = {"seq_len": 0, "batch_size": 1}


@dataclass
class Cell:
    """One cell of a row.

    Attributes:
        series: what its launches share.
        at: its value on the axis.
        comparison: its arms.
        units: its launches.
    """

    series: str
    at: int
    comparison: Comparison
    units: list[UnitOfWork] = field(default_factory=list)

    @property
    def arm(self) -> Case:
        """The arm that is searched."""
        return next(case for case in reversed(self.comparison.arms) if not case.twin)

    def others(self, against: Sequence[str]) -> list[Case]:
        """The arms that it is held against: the anchor, and the rungs that were solved for it."""
        anchor, *rest = (case for case in self.comparison.arms if not case.twin)
        rungs = [case for case in rest if case.rung]
        return [anchor] * ("same shape" in against) + rungs * ("equal cost" in against)


@dataclass(frozen=True)
class Row:
    """Cells of one arm and workload, ascending along the axis.

    Attributes:
        name: names its file.
        against: what the arm must beat.
        cells: the cells.
    """

    name: str
    against: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The arms that the row's arm is held against, in every cell the same."""
        return tuple(case.arm for case in self.cells[0].others(self.against))

    @property
    def usual(self) -> int:
        """About how many of its cells a search measures."""
        return bisection.usual(len(self.cells), len(self.others))


def in_search(suite: Suite, comparison: Comparison) -> bool:
    """Whether a comparison is that of one searched arm at one place."""
    return bool(comparison.name) and len(searched_keys(suite, comparison.metrics)) == len(comparison.metrics)


def with_twins(suite: Suite, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Give the first comparison of a search at each place a twin of its anchor, where the suite wants one.

    The twin speaks for the machine, which one row shows at as many places as any other.
    """
    made, seen = [], set[Place]()
    for comparison in comparisons:
        searched = in_search(suite, comparison)
        twin = searched and suite.twin and suite.claims and comparison.place not in seen
        seen |= {comparison.place} if searched else set()
        made.append(comparison.model_copy(update={"twin": True}) if twin else comparison)
    return made


def row_of(suite: Suite, unit: UnitOfWork) -> str:
    """Name of the row that a unit is a launch of, or the confirmation that it belongs to, as its `row` should say; else empty."""
    if confirms(unit):
        return confirmation_of(unit)
    if suite.search is None or not unit.series or not unit.facts.times:
        return ""
    if not in_search(suite, unit.comparison):
        return ""
    return slug(f"{unit.workload}-{unit.comparison.name}-{_elsewhere(unit.comparison.place, suite.search.axis)}")


def _elsewhere(place: Place, axis: str) -> str:
    """A place's label without the axis: `B1-fp32-cpu1`."""
    parts = place.label.split("-")
    del parts[PARTS[axis]]
    return "-".join(parts)


def rows_of(suite: Suite, units: Sequence[UnitOfWork]) -> dict[str, Row]:
    """The rows that a suite searches, by name; none if it measures its whole grid."""
    search = suite.search
    if search is None:
        return {}
    found: dict[str, dict[str, Cell]] = {}
    for unit in units:
        if unit.row:
            at = int(getattr(unit.comparison.place, search.axis))
            cells = found.setdefault(unit.row, {})
            cells.setdefault(unit.series, Cell(unit.series, at, unit.comparison)).units.append(unit)
    return {
        name: Row(name, search.against, tuple(sorted(cells.values(), key=lambda cell: cell.at)))
        for name, cells in found.items()
    }


def first_launches(suite: Suite, comparisons: Sequence[Comparison]) -> dict[str, int]:
    """A number for the first launch of each comparison of a search, by its label.

    Those at one place share an anchor but not its launches: numbered on, each launch of the anchor has a number of its own.
    """
    found: dict[str, int] = {}
    seen: Counter[Place] = Counter()
    for comparison in comparisons:
        if in_search(suite, comparison):
            found[comparison.label] = seen[comparison.place] * suite.launches_limit
            seen[comparison.place] += 1
    return found
