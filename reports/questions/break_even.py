"""Makes `breakeven.csv`: from which length on each arm is faster than same-shape dense, and than the dense model of equal cost.

One line per arm, baseline, workload, place and estimate. It runs along the length; for prefill and decode along the batch size
too. The statistics are in `harness/stats/break_even.py`, the sentences in `breakeven_words.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pandas as pd

from modbench.harness.core.case import Case, Comparison, Place
from modbench.harness.core.labels import OF_WORK
from modbench.harness.stats.break_even import Found, Point, break_even
from modbench.harness.stats.effects import LEVEL
from modbench.reports.tables import machine_checked
from modbench.reports.tables.cases import joined
from modbench.reports.tables.contenders import contenders, rung_beside
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.unmeasured import LEFT_OUT
from modbench.reports.wording.words import TIMED, is_number

Axis: TypeAlias = Literal["seq_len", "batch_size"]
AXES: tuple[Axis, Axis] = ("seq_len", "batch_size")
Estimand: TypeAlias = Literal["typical", "mean"]
COLUMNS = (
    *("metric", "axis", "arm", "capacity", "baseline_arm", "against", "seq_len", "batch_size", "device", "dtype"),
    *("compile", "graph", "threads", "estimand", "outcome", "value", "ci_low", "ci_high", "ci_level"),
    *("measured", "launches", "labels", "status", "reason"),
)
ALL_TIMED = tuple(metric for _, metric in TIMED)
# Workloads whose batch is a choice of whoever serves the model.
ALONG_BATCH = ("latency/prefill", "latency/decode")
# Columns of the ratio, of the spread of its log between launches, and of their number.
_ESTIMANDS: dict[Estimand, tuple[str, str, str]] = {
    "typical": ("ratio", "launch_sd", "launches"),
    "mean": ("mean_ratio", "mean_launch_sd", "mean_launches"),
}
SMOKE = "smoke effort: no claims"


@dataclass(frozen=True)
class Line:
    """One arm against one baseline, along an axis of the grid.

    Attributes:
        metric: time of a workload.
        axis: along what.
        case: the arm, at the first point of the axis that was planned.
        baseline: what it is compared with.
        against: `same shape`, `equal cost`, or `baseline` where the report's is no dense model of the arms' shape.
        estimand: whether `typical` or `mean` times are compared.
        found: what the numbers say; of too few no outcome.
        measured: points of the axis that it is found from.
        left_out: points without a number, or disturbed, and why: `128: contaminated`.
        launches: fewest at any of those points; None where there are none.
        labels: of either arm at any of those points.
        withheld: why the outcome is no claim; None where it is one.
    """

    metric: str
    axis: Axis
    case: Case
    baseline: Case
    against: str
    estimand: Estimand
    found: Found
    measured: tuple[int, ...]
    left_out: tuple[str, ...]
    launches: int | None
    labels: tuple[str, ...]
    withheld: str | None

    @property
    def place(self) -> Place:
        """Where it runs; its own axis is that of the first point."""
        return self.case.place


def lines(loaded: Loaded, arms: Collection[str] | None = None, metrics: Collection[str] = ALL_TIMED) -> list[Line]:
    """Return the lines of a run: by workload, axis, place and arm, then by baseline and estimate.

    There are none for tasks and sweeps over sizes, and none along an axis with a single point.

    Args:
        loaded: the run.
        arms: those that lines are wanted of; None: all but the report's baseline and the dense ladder.
        metrics: times of workloads.
    """
    cases = [case for case in contenders(loaded) if arms is None or case.arm in arms]
    against = [(case.arm, *each) for case in cases for each in _baselines(loaded, case)]
    unfit = _unfit(loaded)
    found: list[Line] = []
    for metric in (metric for metric in ALL_TIMED if metric in metrics):
        known = {(arm, base.arm): _rows(loaded, metric, arm, base.arm) for arm, base, _ in against}
        for axis in AXES[: 2 if metric in ALONG_BATCH else 1]:
            for group in _groups(loaded, metric, axis):
                for arm, base, why in against:
                    found += _lines(metric, axis, group, arm, base, why, known[arm, base.arm], unfit)
    return found


def other(axis: Axis) -> Axis:
    """The axis that is held fixed."""
    return AXES[1 - AXES.index(axis)]


def _baselines(loaded: Loaded, case: Case) -> list[tuple[Case, str]]:
    """What an arm is compared with, and why: the report's baseline, and the rung that was solved for the arm."""
    base, beside = loaded.arms[0], rung_beside(loaded, case)
    shape = base.config.capacity is None and not base.rung and not base.own  # what shape a user's has is not known
    found = [(base, "same shape" if shape else "baseline")]
    if beside is None:
        return found
    return [(beside[0], "equal cost")] if beside[0].arm == base.arm else [*found, (beside[0], "equal cost")]


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
    held = other(axis)
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for comparison in loaded.run.plan.comparisons:
        anchor, where = comparison.arms[0], comparison.place
        if metric in comparison.metrics and not anchor.task and anchor.budget is None:
            how = (where.dtype, where.device, where.threads, where.compile, where.graph)
            key = (getattr(where, held), *how, comparison.name)  # a search has a comparison of its own for each arm
            groups.setdefault(key, []).append(comparison)
    return [
        [{case.arm: case for case in each.arms} for each in sorted(group, key=lambda each: getattr(each.place, axis))]
        for group in groups.values()
        if len(group) > 1
    ]


def _lines(
    metric: str,
    axis: Axis,
    group: Sequence[Mapping[str, Case]],
    arm: str,
    baseline: Case,
    against: str,
    rows: Mapping[str, Any],
    unfit: str | None,
) -> Iterator[Line]:
    """Yield the lines of typical and mean times of one pair along one axis; none where the two were never compared."""
    here: dict[int, tuple[Any, bool]] = {}
    for cases in group:
        for side, mirrored in ((arm, False), (baseline.arm, True)):
            row = rows.get(cases[side].id) if side in cases else None
            if row is not None:
                here[getattr(cases[side].place, axis)] = (row, mirrored)
    if not here:
        return
    troubles = {at: _trouble(row) for at, (row, _) in here.items()}
    good = {at: pair for at, pair in here.items() if not troubles[at]}
    left_out = tuple(f"{at:,}: {said}" for at, said in troubles.items() if said)
    labels = _labels(row for row, _ in good.values())
    withheld = unfit or _withheld([row for row, _ in good.values()], labels)
    case = next(cases[arm] for cases in group if arm in cases)
    for estimand, columns in _ESTIMANDS.items():
        points = [_point(at, row, columns, mirrored=mirrored) for at, (row, mirrored) in good.items()]
        found = break_even(points) if points else Found(None, reason="no point of the axis has a number")
        few = min((point.n for point in points), default=None)
        yield Line(metric, axis, case, baseline, against, estimand, found, tuple(good), left_out, few, labels, withheld)


def _point(at: int, row: Any, columns: tuple[str, str, str], *, mirrored: bool) -> Point:  # noqa: ANN401  # a row of `pairs`
    ratio, sd, launches = (getattr(row, column) for column in columns)
    effect = math.log(ratio)
    return Point(at, -effect if mirrored else effect, float(sd) if is_number(sd) else None, int(launches))


def _trouble(row: Any) -> str | None:  # noqa: ANN401  # a row of `pairs`
    """Why a point cannot be used, in a word; None if it can."""
    if row.status != "ok":
        return str(row.status)
    return "contaminated" if row.verdict == "contaminated" else None


def _labels(rows: Iterable[Any]) -> tuple[str, ...]:
    said = (text for row in rows for text in (row.labels, row.baseline_labels) if isinstance(text, str))
    return tuple(dict.fromkeys(label for text in said for label in text.split(";")))


def _unfit(loaded: Loaded) -> str | None:
    """Why no line of the run is a claim; None if lines can be."""
    if not loaded.run.plan.suite.claims:
        return SMOKE
    if loaded.checked:
        return None
    return machine_checked.SILENT if len(loaded.twins) else machine_checked.UNCHECKED


def _withheld(rows: Sequence[Any], labels: Sequence[str]) -> str | None:
    """Why what is found is no claim; None if it is one."""
    doubts = [label for label in labels if label in OF_WORK]
    if doubts:
        return f"in doubt: {', '.join(doubts)}"
    without = [f"{row.seq_len:,}" for row in rows if not isinstance(row.verdict, str)]
    return f"no verdict at T = {', '.join(without)}: comparisons.csv says why" if without else None


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `breakeven.csv`; empty where there is no line.

    `value` is the point of the axis from which on the arm pays, `ci_low` and `ci_high` the band; `outcome` is null where it
    would be no claim. Held fixed is the other of `seq_len` and `batch_size`.
    """
    frame = pd.DataFrame([_row(line) for line in lines(loaded)], columns=list(COLUMNS))
    numbers = dict.fromkeys(("capacity", "value", "ci_low", "ci_high", "ci_level"), "float64")
    return frame.astype(numbers | dict.fromkeys(("seq_len", "batch_size", "launches"), "Int64"))


def _row(line: Line) -> dict[str, object]:
    found, place = line.found, line.place
    fixed = other(line.axis)
    band = found.low is not None or found.high is not None
    reasons = [line.withheld, found.reason, f"without {', '.join(line.left_out)}" if line.left_out else None]
    return {
        "metric": line.metric,
        "axis": line.axis,
        "arm": line.case.arm,
        "capacity": line.case.config.capacity,
        "baseline_arm": line.baseline.arm,
        "against": line.against,
        fixed: getattr(place, fixed),
        "device": place.device,
        "dtype": place.dtype,
        "compile": place.compile,
        "graph": place.graph,
        "threads": place.threads,
        "estimand": line.estimand,
        "outcome": None if line.withheld else found.outcome,
        "value": found.at,
        "ci_low": found.low,
        "ci_high": found.high,
        "ci_level": LEVEL if band else None,
        "measured": " ".join(map(str, line.measured)) or None,
        "launches": line.launches,
        "labels": ";".join(line.labels) or None,
        "status": "ok" if found.outcome else "skipped",
        "reason": joined(reasons),
    }


# Outcomes from the most favourable to the least.
_ORDER = ("always", "crossing", "undecided", "not monotone", "never", None)


def to_be_sure(typical: Line, mean: Line) -> Line:
    """Return the less favourable of two estimates of a line: an arm pays where typical calls and the mean both do."""
    return max(typical, mean, key=_how_late)


def _how_late(line: Line) -> tuple[int, float]:
    found = line.found
    return _ORDER.index(found.outcome), found.at or found.low or found.high or 0.0
