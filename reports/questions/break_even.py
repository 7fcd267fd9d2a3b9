"""From which length on is each arm faster than same-shape dense, and than the dense model of equal cost?

One line per arm, baseline, workload and place. It runs along the length; for prefill and decode along the batch size too. The
statistics are in `harness/stats/break_even.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from modbench.harness.core.contracts import Estimand
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import OF_WORK, Label, of_cell
from modbench.harness.domain.case import Case, Place
from modbench.harness.stats.break_even import Found, Point, break_even
from modbench.harness.stats.effects import LEVEL
from modbench.harness.stats.reason import Reason
from modbench.reports import reasons
from modbench.reports.data_table import DataTable, count, interval, number, place, text
from modbench.reports.model import Block, Estimate, Finding, Listed, Sentence, Table, Value, known
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.cell import listed_reasons
from modbench.reports.tables.findings import labels_of
from modbench.reports.tables.load import MOST_ARMS, Loaded, Row, contenders, rung_beside, same_shape
from modbench.reports.tables.samples import LEFT_OUT
from modbench.reports.wording import TIMED, WORKLOADS, name

Axis: TypeAlias = Literal["seq_len", "batch_size"]
AXES: tuple[Axis, Axis] = ("seq_len", "batch_size")
# Workloads whose batch is a choice of whoever serves the model.
ALONG_BATCH = ("latency/prefill", "latency/decode")
SMOKE = "smoke effort: no claims"
# From this share on it is said that a dense model of equal cost has other FLOPs than the arm.
FAR = 0.05
# An axis as a letter.
LETTERS: dict[Axis, str] = dict(zip(AXES, ("T", "B"), strict=True))
AXIS_WORDS: dict[Axis, str] = dict(zip(AXES, ("length", "batch size"), strict=True))
OPEN, NO_LINE = "?", "no line"
# Behind a line that is found without some of the points.
WITHOUT = "°"
_SIGNS = {
    "≤": "≤ at the latest",
    NO_LINE: f"{NO_LINE}: the ratio falls",
    WITHOUT: f"{WITHOUT} without points that failed or were disturbed",
}
# What an arm is compared with, as the title of a column.
AGAINST = {"same shape": "shape", "equal cost": "cost"}


@dataclass(frozen=True)
class Line:
    """From where on one arm pays against one baseline, along an axis of the grid.

    Attributes:
        axis: along what.
        kind: what the baseline is: `same shape`, `equal cost`, or `baseline` where it is no dense model of the arms' shape.
        found: by the estimand of the metric: a point of the axis, with an outcome as its verdict; of too few numbers none.
        other: the same by the other estimand.
        measured: points of the axis that it is found from.
        left_out: points without a number, or disturbed, and why.
        launches: fewest at any of those points; None where there are none.
        withheld: why the outcome is no claim; None where it is one.
    """

    axis: Axis
    kind: str
    found: Finding
    other: Finding
    measured: tuple[int, ...]
    left_out: Mapping[int, str]
    launches: int | None
    withheld: Value

    @property
    def case(self) -> Case:
        """The arm, at the first point of the axis that was planned."""
        return self.found.case

    @property
    def baseline(self) -> Case:
        """What the arm is compared with."""
        assert isinstance(self.found.against, Case)
        return self.found.against

    @property
    def metric(self) -> str:
        """The time of a workload."""
        return self.found.metric

    @property
    def place(self) -> Place:
        """Where it runs; its own axis is that of the first point."""
        return self.case.place


def lines(loaded: Loaded, arms: Collection[str] | None = None, metrics: Collection[str] = TIMED) -> list[Line]:
    """Return lines by workload, axis, place and arm, then by baseline; unless arms are named, of all but baseline and ladder.

    There are none for tasks and sweeps over sizes, and none along an axis with a single point.
    """
    cases = [case for case in contenders(loaded) if arms is None or case.arm in arms]
    against = [(case.arm, *each) for case in cases for each in _baselines(loaded, case)]
    found: list[Line] = []
    for metric in (metric for metric in TIMED if metric in metrics):
        known = {(arm, base.arm): _rows(loaded, metric, arm, base.arm) for arm, base, _ in against}
        for axis in AXES[: 2 if metric in ALONG_BATCH else 1]:
            for group in _groups(loaded, metric, axis):
                made = (_line(loaded, metric, axis, group, *each, known[each[0], each[1].arm]) for each in against)
                found += filter(None, made)
    return found


def other(axis: Axis) -> Axis:
    """The axis that is held fixed."""
    return AXES[1 - AXES.index(axis)]


def _baselines(loaded: Loaded, case: Case) -> list[tuple[Case, str]]:
    """What an arm is compared with, and why: the report's baseline, and the rung that was solved for the arm."""
    base, beside = loaded.baseline, rung_beside(loaded, case)
    found = [(base, "same shape" if same_shape(base) else "baseline")]
    if beside is None:
        return found
    solved = (beside.case, "equal cost")
    return [solved] if beside.case.arm == base.arm else [*found, solved]


def _rows(loaded: Loaded, metric: str, arm: str, baseline: str) -> dict[str, Any]:
    """Rows that compare the two, by the case that each is about: the arm's, or the baseline's where it is mirrored.

    Points that a search did not need are none of the line.
    """
    return {
        row.case_id: row
        for row in loaded.between(metric, arm, baseline)
        if row.status == "ok" or loaded.tables.cell(row.case_id, metric).left_out != LEFT_OUT
    }


def _groups(loaded: Loaded, metric: str, axis: Axis) -> list[list[Mapping[str, Case]]]:
    """Points along an axis, ascending, for everything else that a place has; of each point its cases by arm."""
    held = operator.attrgetter(other(axis), "dtype", "device", "threads", "compile", "graph")
    every = [each for each in loaded.plan.comparisons if metric in each.metrics]
    timed = [each for each in every if not each.arms[0].task and each.arms[0].budget is None]
    groups = grouped(((held(each.place), each.name), each) for each in timed)  # a search names one for each arm
    return [
        [{case.arm: case for case in each.arms} for each in sorted(group, key=lambda each: getattr(each.place, axis))]
        for group in groups.values()
        if len(group) > 1
    ]


def _line(
    loaded: Loaded,
    metric: str,
    axis: Axis,
    group: Sequence[Mapping[str, Case]],
    arm: str,
    baseline: Case,
    kind: str,
    rows: Mapping[str, Row],
) -> Line | None:
    """Return the line of one pair along one axis; None where the two were never compared."""
    here: dict[int, tuple[Row, bool]] = {}
    for cases in group:
        for side, mirrored in ((arm, False), (baseline.arm, True)):
            row = rows.get(cases[side].id) if side in cases else None
            if row is not None:
                here[getattr(cases[side].place, axis)] = (row, mirrored)
    if not here:
        return None
    troubles = {at: trouble for at, (row, _) in here.items() if (trouble := _trouble(loaded, row))}
    good = {at: pair for at, pair in here.items() if at not in troubles}
    labels = tuple(dict.fromkeys(label for row, _ in good.values() for label in labels_of(row)))
    case = next(cases[arm] for cases in group if arm in cases)
    found = list[Finding]()
    launches = min((int(row.launches) for row, _ in good.values()), default=None)
    for read in (_effect, _other_effect):
        points = [
            Point(at, -read(row)[0] if mirrored else read(row)[0], read(row)[1], int(row.launches))
            for at, (row, mirrored) in good.items()
            if not math.isnan(read(row)[0])
        ]
        made = break_even(points) if points else Found(None, reason=Reason("no_points"))
        point = Estimate(made.at, made.low, made.high, "point", n=launches)
        status = "ok" if made.outcome else "skipped"
        found.append(
            Finding(
                case,
                baseline,
                case.place,
                metric,
                typical=point,
                verdict=made.outcome,
                status=status,
                reason=reasons.sentence(made.reason),
                measure_next=made.measure_next,
                labels=labels,
            )
        )
    withheld = _unfit(loaded) or _withheld([row for row, _ in good.values()], labels)
    return Line(axis, kind, found[0], found[1], tuple(good), troubles, launches, withheld)


def _effect(row: Row) -> tuple[float, float | None]:
    """The log of the ratio that the verdict of a row is on, and its standard deviation between launches."""
    return math.log(row.cpu_ratio if Label.BY_CPU in labels_of(row) else row.ratio), known(row.launch_sd)


def _other_effect(row: Row) -> tuple[float, float | None]:
    """The same by the other estimand; nan where there is none, or CPU time decided."""
    if Label.BY_CPU in labels_of(row):
        return math.nan, None
    return math.log(row.median_ratio if math.isnan(row.mean_ratio) else row.mean_ratio), known(row.other_launch_sd)


def _trouble(loaded: Loaded, row: Row) -> str | None:
    """Why a point cannot be used, in a word; None if it can."""
    if row.status != "ok":
        return str(row.status)
    metric = loaded.tables.metrics[row.metric]
    if any(loaded.tables.partly(loaded.cases_by_id[case], metric) for case in (row.case_id, row.baseline_case_id)):
        return "incomplete"
    noisy = isinstance(row.verdict, str) and Label.CONTAMINATED in of_cell(row.labels)
    return str(Label.CONTAMINATED) if noisy else None


def _unfit(loaded: Loaded) -> str | None:
    """Why no line of the run is a claim; None if lines can be."""
    if not loaded.suite.claims:
        return SMOKE
    if loaded.checked:
        return None
    return pair_verdicts.why_unchecked(loaded.run, loaded.twins)


def _withheld(rows: Sequence[Row], labels: Sequence[str]) -> Value:
    """Why what is found is no claim; None if it is one."""
    doubts = [label for label in labels if label in OF_WORK]
    if doubts:
        return f"in doubt: {', '.join(doubts)}"
    without = [int(row.seq_len) for row in rows if not isinstance(row.verdict, str)]
    said = Sentence("no verdict at T = {without}: comparisons.csv says why", without=Listed(without))
    return said if without else None


@dataclass(frozen=True)
class _Row:
    """A row of breakeven.csv: what is found of a line by one estimand."""

    line: Line
    found: Finding
    estimand: Estimand

    @property
    def fixed(self) -> dict[str, int]:
        """The coordinate that is held fixed, by the name of its column."""
        held = other(self.line.axis)
        return {held: getattr(self.line.place, held)}

    @property
    def reason(self) -> Value:
        """Why nothing is found or claimed, and which points are left out."""
        troubles = [Sentence("{at}: {why}", at=at, why=why) for at, why in self.line.left_out.items()]
        without = Sentence("without {troubles}", troubles=Listed(troubles)) if troubles else None
        return listed_reasons([self.line.withheld, self.found.reason, without])


def _rows_of(loaded: Loaded) -> Iterator[_Row]:
    for line in lines(loaded):
        own = loaded.tables.metrics[line.metric].estimand
        yield _Row(line, line.found, own)
        yield _Row(line, line.other, "mean" if own == "median" else "median")


TABLE = DataTable[_Row](
    "breakeven",
    "a line, of one arm against one baseline along one axis, by one estimand",
    (
        text("metric", "the time that is compared", lambda row: row.line.metric),
        text("axis", "along what the line runs: `seq_len` or `batch_size`", lambda row: row.line.axis),
        text("arm", "the arm", lambda row: row.line.case.arm),
        number("capacity", "its share of tokens in a routed block", lambda row: row.line.case.config.capacity),
        text("baseline_arm", "what it is compared with", lambda row: row.line.baseline.arm),
        text("against", "why: `same shape`, `equal cost` or `baseline`", lambda row: row.line.kind),
        count("seq_len", "sequence length, of a line along the batch size", lambda row: row.fixed.get("seq_len")),
        count("batch_size", "sequences per call, of a line along the length", lambda row: row.fixed.get("batch_size")),
        place(lambda row: row.line.place, "device", "dtype", "compile", "graph", "threads"),
        text("estimand", "what is compared: medians or means", lambda row: row.estimand),
        text(
            "outcome",
            "`always`, `crossing`, `never`, `undecided`, `not monotone`; null where it would be no claim",
            lambda row: None if row.line.withheld else row.found.verdict,
        ),
        interval("value", "point of the axis from which on the arm is faster", lambda row: row.found.typical),
        number("ci_level", "level of the interval", lambda row: LEVEL if row.found.typical.bounded else None),
        text("measured", "points of the axis that it is found from", lambda row: " ".join(map(str, row.line.measured))),
        count("launches", "fewest launches at any of them", lambda row: row.line.launches),
        text("labels", "warnings", lambda row: ";".join(row.found.labels)),
        text("status", "`ok`, or `skipped` where there is no line", lambda row: row.found.status),
        text("reason", "why there is no line or no claim, and which points are left out", lambda row: row.reason),
        count("measure_next", "point whose measurement narrows the line most", lambda row: row.found.measure_next),
    ),
    _rows_of,
)


# --- as a table


@dataclass(frozen=True)
class Column:
    """A column of a table of arms.

    Attributes:
        group: what it shares with others: the workload, and what distinguishes its place.
        title: what arms are compared with.
        cells: one for each arm.
        axis: along what its lines run; None where it holds none.
        measure_next: points of that axis whose measurement would narrow lines of the column.
        metric: the time of the workload; empty where it holds no lines.
    """

    group: Value
    title: str
    cells: Sequence[Value]
    axis: Axis | None = None
    measure_next: tuple[int, ...] = ()
    metric: str = ""


def columns(loaded: Loaded, arms: Sequence[Case], metrics: Collection[str] = TIMED) -> list[Column]:
    """Return from where on arms pay, a column for each workload, place, axis and baseline.

    There is none for a run without lines, and where nothing may be claimed of any line: why stands among its warnings or doubts.
    """
    if not (loaded.suite.claims and loaded.checked):
        return []
    found: dict[_Where, dict[str, dict[str, Line]]] = {}
    for line in lines(loaded, [case.arm for case in arms], metrics):
        found.setdefault(_where(line), {}).setdefault(line.kind, {})[line.case.arm] = line
    return [
        Column(
            _title(where, found),
            AGAINST.get(kind, kind),
            [pays_from(of_arm.get(case.arm)) for case in arms],
            where.axis,
            tuple(sorted({at for line in of_arm.values() if not line.withheld and (at := line.found.measure_next)})),
            where.metric,
        )
        for where, kinds in found.items()
        for kind, of_arm in kinds.items()
    ]


def measure_next(axis: Axis, places: Collection[int]) -> Sentence | None:
    """Say which points of an axis to measure next: `measure T = 181 next`, to narrow the line; None where none would help."""
    if not places:
        return None
    return Sentence("measure {axis} = {places} next", axis=LETTERS[axis], places=Listed(sorted(places), last=" and "))


def blocks(loaded: Loaded, metrics: Collection[str] = TIMED) -> Iterator[Block]:
    """Return from where on every arm pays, at every place; nothing for a run without lines."""
    arms = contenders(loaded)
    for axis in AXES:
        made = [column for column in columns(loaded, arms[:MOST_ARMS], metrics) if column.axis == axis]
        if made:
            yield Table(
                f"where each arm pays, by {AXIS_WORDS[axis]}",
                (f"pays from {LETTERS[axis]} [95 %]", *(column.title for column in made)),
                [[case, *(column.cells[i] for column in made)] for i, case in enumerate(arms[:MOST_ARMS])],
                groups=("", *(column.group for column in made)),
                notes=[*meanings(loaded, made)],
                left_out=max(0, len(arms) - MOST_ARMS),
                file="breakeven.csv",
                rows_are="arms",
            )


def pays_from(line: Line | None) -> Value:
    """Return the later of both estimates: `128`, `≈389 [332–426]`, `≤426`, `>454 ?`, `never`, `?`; None without a line."""
    if line is None:
        return None
    found = line.found
    point = found.typical
    if line.withheld or found.verdict is None or not line.measured:
        return OPEN
    words, at = {"never": "never", "not monotone": NO_LINE}.get(found.verdict, OPEN), point
    if found.verdict == "crossing":
        both = point.value is not None and point.low is not None
        words, at = ("≈{at}", point) if both else ("≤{at}", Estimate(point.high, kind="point"))
    elif found.verdict == "undecided" and point.low is not None:
        words, at = f">{{at}} {OPEN}", Estimate(point.low, kind="point")
    elif found.verdict == "always":
        words, at = "{at}", Estimate(line.measured[0], kind="point")
    return Sentence(words + WITHOUT * bool(line.left_out), at=at)


def meanings(loaded: Loaded, made: Sequence[Column]) -> Iterator[Value]:
    """Yield what titles and signs of columns mean, where they occur."""
    base, titles = name(loaded.baseline), {column.title for column in made}
    words = {"shape": f"{base} of equal shape", "cost": "dense of equal cost"}
    against = [title for title in words if title in titles]
    if against:
        said = ", ".join(words[title] for title in against)
        said = f"{', '.join(against)}: {said.replace(', dense', ',') if base == 'dense' else said}"
        apart = _apart(loaded) if "cost" in against else None
        yield said if apart is None else Sentence("{said} (FLOPs ±{apart})", said=said, apart=apart)
    if any(cell is None for column in made if column.title == "cost" for cell in column.cells):
        yield "– none"
    texts = [cell.words for column in made for cell in column.cells if isinstance(cell, Sentence)]
    yield from (meaning for sign, meaning in _SIGNS.items() if any(sign in text for text in texts))
    for axis in AXES:
        asked = measure_next(axis, {at for column in made if column.axis == axis for at in column.measure_next})
        if asked is not None:
            yield asked


def _apart(loaded: Loaded) -> Estimate | None:
    """Return how far the FLOPs of a model of equal cost are from equal at most, as it was solved for one length; None: near."""
    ladder = (rung for rung in loaded.plan.ladder if rung.quantity == "flops/forward")
    far = max((abs(gap) for rung in ladder for at, gap in rung.gaps.items() if at in loaded.lengths), default=0.0)
    return Estimate(far, kind="about") if far >= FAR else None


class _Where(NamedTuple):
    """What lines share: the workload, the axis, the value of the other axis, and how calls run."""

    metric: str
    axis: Axis
    fixed: int
    dtype: str
    execution: str


def _where(line: Line) -> _Where:
    place = line.place
    return _Where(line.metric, line.axis, getattr(place, other(line.axis)), place.dtype, place.execution)


def _title(where: _Where, places: Collection[_Where]) -> Value:
    """Name a workload and what distinguishes its place from the others: `decode step at T = 256, bf16`."""
    alike = [each for each in places if each[:2] == where[:2]]
    several = {field for field in where._fields if len({getattr(each, field) for each in alike}) > 1}
    # Along the batch size the length is no matter of course.
    fixed = where.axis == "batch_size" or "fixed" in several
    parts: list[Value] = [Sentence(f"{LETTERS[other(where.axis)]} = {{at}}", at=where.fixed)] * fixed
    parts += [getattr(where, field) for field in ("dtype", "execution") if field in several]
    workload = WORKLOADS[where.metric]
    return Sentence("{workload} at {place}", workload=workload, place=Listed(parts)) if parts else workload
