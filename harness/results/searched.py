"""What a search found in the cells of a row, and which it asked for: one small file for each row, written once, at its end.

Until then nothing is written: which cells a row asks for follows from their records (`follow`), so that a run that was killed
goes on as it would have. `search/<row>.json` then says what was asked for and what it rested on; other cells are neither
run nor missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case
from modbench.harness.core.files import write_atomically
from modbench.harness.core.frozen import Frozen
from modbench.harness.planning.bisection import Reading, wanted_of_all
from modbench.harness.planning.rows import Cell, Row
from modbench.harness.results import layout
from modbench.harness.results.reading import DamagedError, Problem, load, parse, shown
from modbench.harness.results.records import Outcome, Record
from modbench.harness.stats import effects

FOLDER = "search"
AGAIN = "Remove it: `modbench resume` searches again from the records"


class Found(Frozen):
    """What a cell says of the row's arm against another, over its launches, on the log scale: above 0 the arm is faster.

    Attributes:
        value: the effect; None if there is none.
        low: lower end of its 95 % interval; None if there is none.
        high: upper end.
        reason: why there is no effect; None if there is one.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def reading(self) -> Reading:
        """What the rule of a search reads of it. A single launch, which has no interval, is taken at its word."""
        if self.value is None:
            return Reading(None, decided=True)
        undecided = self.low is not None and self.high is not None and self.low <= 0 <= self.high
        return Reading(self.value >= 0, decided=not undecided)


class Visited(Frozen):
    """A cell that a search asked for.

    Attributes:
        series: what its launches share.
        at: its value on the axis.
        found: what it says, against each of the row's other arms.
    """

    series: str
    at: int
    found: tuple[Found, ...]


class Searched(Frozen):
    """A search that has ended.

    Attributes:
        row: what was searched.
        others: the arms that the row's arm was held against.
        cells: the cells that were asked for, in this order.
    """

    row: str
    others: tuple[str, ...]
    cells: tuple[Visited, ...]


@dataclass(frozen=True)
class Followed:
    """A search as far as its records lead.

    Attributes:
        waves: places in the row, in the order in which they were asked for; those of a wave at the same time.
        found: what is known of them.
        ended: whether nothing more is asked for.
    """

    waves: tuple[tuple[int, ...], ...]
    found: Mapping[int, tuple[Found, ...]]
    ended: bool

    @property
    def asked(self) -> list[int]:
        """Places of all cells that were asked for."""
        return [at for wave in self.waves for at in wave]


def follow(row: Row, found_at: Callable[[int], tuple[Found, ...] | None]) -> Followed:
    """Apply the rule from the start, as far as cells are measured.

    Args:
        row: the row.
        found_at: what the cell at a place says against each other arm; None if it is not measured completely.
    """
    known: list[dict[int, Reading]] = [{} for _ in row.others]
    waves, found = list[tuple[int, ...]](), dict[int, tuple[Found, ...]]()
    while more := wanted_of_all(len(row.cells), known):
        waves.append(tuple(more))
        new = {at: found_at(at) for at in more}
        found |= {at: each for at, each in new.items() if each is not None}
        if len(found) < sum(map(len, waves)):
            return Followed(tuple(waves), found, ended=False)
        for at in more:
            for readings, each in zip(known, found[at], strict=True):
                readings[at] = each.reading
    return Followed(tuple(waves), found, ended=True)


def written(row: Row, followed: Followed) -> Searched:
    """What is written of a search that has ended."""
    cells = ((row.cells[at], followed.found[at]) for at in followed.asked)
    visited = tuple(Visited(series=cell.series, at=cell.at, found=found) for cell, found in cells)
    return Searched(row=row.name, others=row.others, cells=visited)


def found_in(cell: Cell, records: Sequence[Record], against: Sequence[str]) -> tuple[Found, ...]:
    """What the records of all launches of a cell say."""
    return tuple(_found(cell.arm, other, records) for other in cell.others(against))


def _found(arm: Case, other: Case, records: Sequence[Record]) -> Found:
    launches = []
    for record in records:
        anchor = record.unit.comparison.arms[0]
        column = catalogue.passes()[record.unit.made_in].column
        first = next((outcome.metric for outcome in record.outcomes), None)
        mine = {outcome.case: outcome for outcome in record.outcomes if outcome.metric == first}
        for side in (arm, other, anchor):
            if reason := _without_samples(mine.get(side.id)):
                return Found(reason=f"{side.arm}: {reason}")
        base = None if other == anchor else mine[other.id].samples
        launch = effects.pair_in_launch(mine[arm.id].samples, base, mine[anchor.id].samples, column)
        if launch is None:
            return Found(reason=f"{arm.arm} and {other.arm} share no block")
        launches.append(-launch.effect)
    effect = effects.over_launches(launches)
    return Found(value=effect.value, low=effect.low, high=effect.high)


def _without_samples(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return "it left no times"
    return None if outcome.status == "ok" else f"{outcome.kind or outcome.status}: {outcome.reason}"


def file_of(run: Path, row: str) -> Path:
    """The file of a row."""
    return layout.file_of(run, FOLDER, row, ".json")


def write(run: Path, ended: Searched) -> None:
    """Write what a search asked for, once."""
    file = file_of(run, ended.row)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, ended.model_dump_json(indent=1))


def forget(run: Path, row: str) -> None:
    """Remove what a search asked for, since some of its cells are measured again."""
    file_of(run, row).unlink(missing_ok=True)


def read(run: Path, row: Row) -> Searched | None:
    """Read what a search asked for; None if it has not ended.

    Raises:
        DamagedError: if the rule would have asked for other cells.
    """
    file = file_of(run, row.name)
    if not file.is_file():
        return None
    searched = parse(Searched, load(file), file)
    for problem in _problems(row, searched):
        raise DamagedError(file, f"{problem}. {AGAIN}")
    return searched


def _problems(row: Row, searched: Searched) -> list[Problem]:
    if searched.row != row.name:
        return [Problem(("row",), f"{shown(searched.row)} is another row")]
    if searched.others != row.others:
        return [Problem(("others",), f"the plan has {shown(', '.join(row.others))}")]
    for i, cell in enumerate(searched.cells):
        for j, found in enumerate(cell.found):
            if said := _impossible(found):
                return [Problem(("cells", i, "found", j), said)]
        if len(cell.found) != len(row.others):
            return [Problem(("cells", i, "found"), f"{len(cell.found)} of {len(row.others)} arms")]
    told = {cell.series: cell.found for cell in searched.cells}
    followed = follow(row, lambda at: told.get(row.cells[at].series))
    asked = [(row.cells[at].series, row.cells[at].at) for at in followed.asked]
    if asked != [(cell.series, cell.at) for cell in searched.cells]:
        return [Problem(("cells",), "not the cells that a search with these effects asks for")]
    return []


def _impossible(found: Found) -> str | None:
    if (found.value is None) != (found.reason is not None):
        return "an effect and a reason why there is none, or neither"
    ends = (found.low, found.high)
    if None not in ends and found.value is not None:
        low, high = found.low or 0.0, found.high or 0.0
        return None if low <= found.value <= high else "an interval without its effect"
    return None if ends == (None, None) else "half an interval"
