"""From which length on is each variant faster than the baseline, and than the matched baseline?

One line per variant, baseline, workload and place. It runs along the length; for prefill and decode along the batch size too. The
statistics are in `harness/stats/break_even.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from modbench.harness.core.contracts import Estimand
from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import OF_WORK, Label, of_cell
from modbench.harness.domain.case import Case
from modbench.harness.planning.adaptive import LEFT_OUT
from modbench.harness.stats.break_even import Found, Point, break_even
from modbench.harness.stats.effects import LEVEL
from modbench.harness.stats.reason import Reason
from modbench.reports.blocks import Estimate, Finding, Listed, Sentence, Value, known
from modbench.reports.data_table import DataTable, count, grid_point, interval, number, text
from modbench.reports.tables import claims
from modbench.reports.tables.cell import joined_reasons
from modbench.reports.tables.load import Loaded, Row, contenders, matched_beside, once_a_run, same_shape
from modbench.reports.tables.pairs import labels_of
from modbench.reports.wording import TIMED, WORKLOADS

Axis: TypeAlias = Literal["seq_len", "batch_size"]
AXES: tuple[Axis, Axis] = ("seq_len", "batch_size")
# An axis as a letter.
LETTERS: dict[Axis, str] = dict(zip(AXES, ("T", "B"), strict=True))
# Workloads whose batch is a choice of whoever serves the model.
ALONG_BATCH = ("latency/prefill", "latency/decode")
SMOKE = "smoke effort: no claims"
OPEN = "?"
# What a variant is compared with, as the title of a column.
AGAINST = {"same shape": "baseline", "matched": "matched"}


@dataclass(frozen=True)
class Line:
    """From where on one variant is faster than one baseline, along an axis of the grid, by one estimand.

    Attributes:
        axis: along what.
        kind: what the baseline is: `same shape`, `matched`, or `baseline` where it is no dense model of the variants' shape.
        estimand: what is compared.
        own: whether that is the metric's estimand, on which its verdicts are.
        found: a point of the axis, with an outcome as its verdict, from the fewest processes at any point; no verdict: no claim.
        measured: points of the axis that it is found from.
        left_out: points without a number, or noisy, and why.
    """

    axis: Axis
    kind: str
    estimand: Estimand
    own: bool
    found: Finding
    measured: tuple[int, ...]
    left_out: Mapping[int, str]

    @property
    def case(self) -> Case:
        """The variant, at the first point of the axis that was planned."""
        return self.found.case

    @property
    def baseline(self) -> Case:
        """What the variant is compared with."""
        assert isinstance(self.found.against, Case)
        return self.found.against

    @property
    def held(self) -> tuple[int, str, str]:
        """Where it runs: the value of the other axis, the number format, how calls run."""
        where = self.found.grid_point
        return getattr(where, other(self.axis)), where.dtype, where.execution


@once_a_run
def lines(loaded: Loaded) -> list[Line]:
    """Return lines by workload, axis, place and variant, then by baseline and estimand; of all variants but baselines.

    There are none for tasks and sweeps over sizes, and none along an axis with a single point.
    """
    against = [(case, *each) for case in contenders(loaded) for each in _baselines(loaded, case)]
    unfit, found = _unfit(loaded), list[Line]()
    for metric in TIMED:
        rows = {
            (case.variant, base.variant): _rows(loaded, metric, case.variant, base.variant) for case, base, _ in against
        }
        for axis in AXES[: 2 if metric in ALONG_BATCH else 1]:
            for group in _groups(loaded, metric, axis):
                for case, base, kind in against:
                    mine = [cases[case.variant] for cases in group if case.variant in cases]
                    known = rows[case.variant, base.variant]
                    here = {getattr(each.grid_point, axis): known[each.id] for each in mine if each.id in known}
                    if here:
                        line = Finding(mine[0], base, mine[0].grid_point, metric)
                        found += _by_estimand(loaded, axis, kind, line, here, unfit)
    return found


def claimed(loaded: Loaded) -> list[Line]:
    """Return the lines by the estimand of each metric; none where nothing may be claimed of any, which is said elsewhere."""
    return [line for line in lines(loaded) if line.own] if _unfit(loaded) is None else []


def other(axis: Axis) -> Axis:
    """The axis that is held fixed."""
    return AXES[1 - AXES.index(axis)]


def _baselines(loaded: Loaded, case: Case) -> list[tuple[Case, str]]:
    """What a variant is compared with, and why.

    The report's baseline, and the matched baseline that was solved for the variant.
    """
    base, beside = loaded.baseline, matched_beside(loaded, case)
    found = [(base, "same shape" if same_shape(base) else "baseline")]
    if beside is None:
        return found
    solved = (beside.case, "matched")
    return [solved] if beside.case.variant == base.variant else [*found, solved]


def _rows(loaded: Loaded, metric: str, variant: str, baseline: str) -> dict[str, tuple[Row, int]]:
    """Rows that compare the two, by the variant's case, each with the sign of its effects.

    Of a mirrored row they are the baseline's.

    Points that a search did not need are none of the line.
    """
    found: dict[str, tuple[Row, int]] = {}
    for row in loaded.between(metric, variant, baseline):
        case, sign = (row.case_id, 1) if row.variant == variant else (row.baseline_case_id, -1)
        if row.status == "ok" or not _not_needed(loaded, metric, case):
            found[case] = row, sign
    return found


def _not_needed(loaded: Loaded, metric: str, case: str) -> bool:
    trouble = loaded.tables.value(loaded.cases_by_id[case], loaded.tables.metrics[metric]).trouble
    return trouble is not None and trouble.reason == LEFT_OUT


def _groups(loaded: Loaded, metric: str, axis: Axis) -> Iterator[list[Mapping[str, Case]]]:
    """Yield points along an axis, ascending, for everything else that a place has; of each point its cases by variant."""
    held = operator.attrgetter(other(axis), "dtype", "device", "threads", "compile", "graph")
    every = [each for each in loaded.plan.comparisons if metric in each.metrics]
    timed = [each for each in every if not each.variants[0].conditions]
    # A search names a comparison for each variant.
    for group in grouped(((held(each.grid_point), each.name), each) for each in timed).values():
        if len(group) > 1:
            along = sorted(group, key=lambda each: getattr(each.grid_point, axis))
            yield [{case.variant: case for case in each.variants} for each in along]


def _by_estimand(
    loaded: Loaded, axis: Axis, kind: str, line: Finding, here: Mapping[int, tuple[Row, int]], unfit: str | None
) -> Iterator[Line]:
    """Yield what is found of one pair along one axis, by the estimand of the metric, then by the other one."""
    left_out = {at: why for at, (row, _) in here.items() if (why := _trouble(loaded, row))}
    good = {at: each for at, each in here.items() if at not in left_out}
    rows = [row for row, _ in good.values()]
    labels = tuple(dict.fromkeys(label for row in rows for label in labels_of(row)))
    processes = min((int(row.processes) for row in rows), default=None)
    withheld = unfit or _withheld(rows, labels)
    points_out = Listed([Sentence("{at}: {why}", at=at, why=why) for at, why in left_out.items()])
    without = Sentence("without {points}", points=points_out) if left_out else None
    own = loaded.tables.metrics[line.metric].estimand
    second: Estimand = "mean" if own == "median" else "median"
    for which, estimand in enumerate((own, second)):
        effects = {at: (sign, int(row.processes), *_effects(row)[which]) for at, (row, sign) in good.items()}
        points = [Point(at, sign * mean, sd, n) for at, (sign, n, mean, sd) in effects.items() if not math.isnan(mean)]
        made = break_even(points) if points else Found(None, reason=Reason("no_points"))
        found = replace(
            line,
            typical=Estimate(made.at, made.low, made.high, "count", n=processes),
            verdict=None if withheld else made.outcome,
            status="ok" if made.outcome else "skipped",
            reason=joined_reasons([withheld, made.reason, without]),
            measure_next=made.measure_next,
            labels=labels,
        )
        yield Line(axis, kind, estimand, estimand == own, found, tuple(good), left_out)


def _effects(row: Row) -> tuple[tuple[float, float | None], tuple[float, float | None]]:
    """The log of the ratio that the verdict of a row is on and its standard deviation between processes, by both estimands.

    The other one is nan where there is none, or CPU time decided.
    """
    if Label.BY_CPU in labels_of(row):
        return (math.log(row.cpu_ratio), known(row.process_sd)), (math.nan, None)
    other = row.median_ratio if math.isnan(row.mean_ratio) else row.mean_ratio
    return (math.log(row.ratio), known(row.process_sd)), (math.log(other), known(row.other_process_sd))


def _trouble(loaded: Loaded, row: Row) -> str | None:
    """Why a point cannot be used, in a word; None if it can."""
    if row.status != "ok":
        return str(row.status)
    cases, metric = loaded.cases_by_id, loaded.tables.metrics[row.metric]
    if any(loaded.tables.value(cases[side], metric).cell.partly for side in (row.case_id, row.baseline_case_id)):
        return "incomplete"
    noisy = isinstance(row.verdict, str) and Label.NOISY in of_cell(row.labels)
    return str(Label.NOISY) if noisy else None


def _unfit(loaded: Loaded) -> str | None:
    """Why no line of the run is a claim; None if lines can be."""
    if not loaded.suite.claims:
        return SMOKE
    return None if loaded.checked else claims.why_unchecked(loaded.run, loaded.aa_controls)


def _withheld(rows: Iterable[Row], labels: Iterable[str]) -> Value:
    """Why what is found is no claim; None if it is one."""
    doubts = [label for label in labels if label in OF_WORK]
    if doubts:
        return f"in doubt: {', '.join(doubts)}"
    without = [int(row.seq_len) for row in rows if not isinstance(row.verdict, str)]
    said = Sentence("no verdict at T = {without}: comparisons.csv says why", without=Listed(without))
    return said if without else None


def _fixed(line: Line, axis: Axis) -> int | None:
    """The coordinate along an axis, where a line holds it fixed."""
    return None if line.axis == axis else getattr(line.found.grid_point, axis)


TABLE = DataTable[Line](
    "breakeven",
    "a line, of one variant against one baseline along one axis, by one estimand",
    (
        text("metric", "the time that is compared", lambda line: line.found.metric),
        text("axis", "along what the line runs: `seq_len` or `batch_size`", lambda line: line.axis),
        text("variant", "the variant", lambda line: line.case.variant),
        number("capacity", "its share of tokens in a routed block", lambda line: line.case.config.capacity),
        text("baseline_variant", "what it is compared with", lambda line: line.baseline.variant),
        text("baseline_kind", "why: `same shape`, `matched` or `baseline`", lambda line: line.kind),
        count("seq_len", "sequence length, of a line along the batch size", lambda line: _fixed(line, "seq_len")),
        count("batch_size", "sequences per call, of a line along the length", lambda line: _fixed(line, "batch_size")),
        grid_point(lambda line: line.found.grid_point, "device", "dtype", "compile", "graph", "threads"),
        text("estimand", "what is compared: medians or means", lambda line: line.estimand),
        text(
            "outcome",
            "`always`, `from`, `never`, `inconclusive`, `not monotone`; null where it would be no claim",
            lambda line: line.found.verdict,
        ),
        interval("value", "point of the axis from which on the variant is faster", lambda line: line.found.typical),
        number("ci_level", "level of the interval", lambda line: LEVEL if line.found.typical.bounded else None),
        text("measured", "points of the axis that it is found from", lambda line: " ".join(map(str, line.measured))),
        count("processes", "fewest processes at any of them", lambda line: line.found.typical.n),
        text("labels", "warnings", lambda line: ";".join(line.found.labels)),
        text("status", "`ok`, or `skipped` where there is no line", lambda line: line.found.status),
        text(
            "reason", "why there is no line or no claim, and which points are left out", lambda line: line.found.reason
        ),
        count("measure_next", "point whose measurement narrows the line most", lambda line: line.found.measure_next),
    ),
    lines,
)


# --- as a table


def cells(loaded: Loaded, found: Iterable[Line]) -> Iterator[tuple[Value, Value, Value, Value]]:
    """Yield the cells of a table of variants: from where on each is faster, below its workload and what it is compared with."""
    variants = {case.variant: case for case in contenders(loaded)}
    for line in found:
        case, workload = variants[line.case.variant], WORKLOADS[line.found.metric]
        yield case, workload, AGAINST.get(line.kind, line.kind), from_where(line)


def from_where(line: Line) -> Value:
    """Return from where on a variant is faster: `always`, `≈389 [332–426]`, `≤426`, `>454 ?`, `never`, `not monotone`, `?`."""
    found, point = line.found, line.found.typical
    if found.verdict is None:
        return OPEN
    words, at = OPEN if found.verdict == "inconclusive" else found.verdict, point
    if found.verdict == "from":
        both = point.value is not None and point.low is not None
        words, at = ("≈{at}", point) if both else ("≤{at}", Estimate(point.high, kind="count"))
    elif found.verdict == "inconclusive" and point.low is not None:
        words, at = f">{{at}} {OPEN}", Estimate(point.low, kind="count")
    return Sentence(words + "°" * bool(line.left_out), at=at)
