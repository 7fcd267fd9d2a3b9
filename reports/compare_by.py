"""Compares the cases of one run along an axis: `modbench compare RUN --by capacity --baseline c0.25`.

Two arms at one place were timed side by side and are compared as in `comparisons.csv`. Two places were measured in processes of
their own: see `unpaired.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from modbench.harness.core.case import Case, Comparison
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.stats import memo
from modbench.reports import axes, pairs, unpaired
from modbench.reports.arms import arm_named
from modbench.reports.axes import Value
from modbench.reports.axis_table import BASELINE, Cell, Column, Filter, Heading, Table
from modbench.reports.load import Loaded
from modbench.reports.style import name

# Fields of a case that are none of its arm's.
OUTER = (*axes.PLACE, "task", "budget")
Measured: TypeAlias = tuple[Comparison, Metric, Case]


def compare_by(loaded: Loaded, axis: str, baseline: str | None = None, keep: Filter | None = None) -> Table:
    """Compare the cases of a run along an axis.

    Args:
        loaded: the run.
        axis: a field in which its cases differ: `capacity`, `seq_len`, `arm`.
        baseline: a value of the axis, else an arm; None: the anchor.
        keep: what is shown; None: everything.

    Raises:
        UsageError: if there is no such axis, baseline or metric, or nothing is left to compare.
    """
    return _Maker(loaded, axis, baseline, keep or Filter()).table()


class _Maker:
    """Makes the table of one run, axis and baseline."""

    def __init__(self, loaded: Loaded, axis: str, baseline: str | None, keep: Filter) -> None:
        self.tables, self.loaded, self.keep = loaded.tables, loaded, keep
        self.plan = loaded.run.plan
        self.axis = axes.checked_axis(axis, self.plan.cases)
        self.known = axes.ordered(axes.fields(case)[axis] for case in self.plan.cases)
        self.value = None if baseline is None or axis == "arm" else axes.value_named(axis, baseline, self.known)
        self.arm = self._arm(baseline) if baseline is not None and self.value is None else None
        differ = [each for each in axes.differing(self.plan.cases) if each != axis]
        outer = [each for each in differ if each in OUTER]
        inner = [each for each in differ if each not in OUTER and each != "arm"]
        self.across = axis in OUTER
        # An arm stands for all its fields, where the axis is none of them.
        self.others = [*(["arm"] if self.across else inner if axis != "arm" else []), *outer]
        self.values: dict[tuple[str, str], float] = {
            (row["case_id"], row["metric"]): row["value"]
            for row in loaded.cases.to_dict("records")
            if row["status"] == "ok"
        }
        self.twins = [{"verdict": verdict} for verdict in loaded.twins.verdict]
        self._told: dict[str, set[str]] = {}
        self._against: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}

    def _arm(self, text: str) -> str:
        try:
            return arm_named(self.plan.cases, text, "baseline").arm
        except UsageError as error:
            values = ", ".join(axes.in_words(self.axis, value) for value in self.known if value is not None)
            raise UsageError(f"{error} Or name a value of {self.axis}: {values}.") from error

    def table(self) -> Table:
        """Compare, judge, and say what was left out."""
        wanted = list(self._measured())
        if not wanted:
            filters = "--metric, --seq-len, --workload or -k"
            raise UsageError(f"no case with a value of {self.axis} is left: loosen {filters}.")
        self._told = _distinguishing(wanted, self.others)
        columns: dict[tuple[str, Heading], Column] = {}
        with memo.remembering():
            for comparison, metric, case in wanted:
                heading = self._heading(case, metric)
                self._fill(columns.setdefault((metric.key, heading), Column(metric, heading)), comparison, case)
        made = [column for column in columns.values() if self._compares(column)]
        dropped = [column for column in columns.values() if not self._compares(column)]
        if not any(cell.row for column in made for cell in column.cells.values()):
            whys = [cell.why for column in dropped for cell in column.cells.values() if cell.why]
            raise UsageError(f"nothing can be compared: {whys[0] if whys else 'only the baseline itself is left'}.")
        self._judge(made)
        keys = self.plan.suite.metrics
        made.sort(key=lambda column: keys.index(column.metric.key))
        return Table(self.axis, self._called(), self._order(made), made, tuple(self._notes(made, dropped)))

    def _measured(self) -> Iterator[Measured]:
        for key in self.keep.metrics:
            if key not in self.plan.suite.metrics:
                raise unknown("metric", key, self.plan.suite.metrics)
        for comparison in self.plan.comparisons:
            for metric in (self.tables.metrics[key] for key in comparison.metrics):
                for case in comparison.arms:
                    if axes.fields(case)[self.axis] is not None and self.keep.keeps(case, metric):
                        yield comparison, metric, case

    def _heading(self, case: Case, metric: Metric) -> Heading:
        told = self._told[metric.key]
        return tuple(each for each in axes.rest(case, self.others) if each[0] in told and each[1] is not None)

    def _compares(self, column: Column) -> bool:
        """Whether a column has a comparison, or is the baseline's own beside those of other arms."""
        cells = column.cells.values()
        return any(cell.row for cell in cells) or (
            self.across and self.value is None and any(c.is_baseline for c in cells)
        )

    def _fill(self, column: Column, comparison: Comparison, case: Case) -> None:
        """Add a case to its column, and its baseline beside it."""
        metric = column.metric
        base, why = self._baseline(comparison, metric, case)
        cell = column.cells[axes.fields(case)[self.axis]] = Cell(case, self._value(case, metric), why=why)
        if base is None or base == case:
            return
        if self.value is not None or not self.across:  # else it has a column of its own
            own = axes.fields(base)[self.axis]
            key = tuple((each, value) for each, value in axes.rest(base, self.others) if each in self._told[metric.key])
            here = self.value is not None or (own is not None and _fits(key, column.heading))
            column.cells.setdefault(own if here else BASELINE, Cell(base, self._value(base, metric)))
        if case.place == base.place:
            cell.row = self._pairs(comparison, metric, base)[case.id]
        else:
            result = unpaired.result if self.tables.made_in(metric).samples == "launches" else None
            row = pairs.pair_row(self.tables, case, base, metric, result)
            cell.row = pairs.of_family(row, "this column", primary=True)

    def _value(self, case: Case, metric: Metric) -> float | None:
        return self.values.get((case.id, metric.key))

    def _baseline(self, comparison: Comparison, metric: Metric, case: Case) -> tuple[Case | None, str]:
        """Return what a case is compared with; or why there is nothing."""
        if self.value is None:
            arm = self.arm or comparison.arms[0].arm
            found = [each for each in comparison.arms if each.arm == arm]
            return (found[0], "") if found else (None, f"{arm} was not measured at {comparison.label}")
        key = axes.rest(case, self.others)
        alike = [
            each
            for other in self.plan.comparisons
            if metric.key in other.metrics and (self.across or other is comparison)
            for each in other.arms
            if axes.fields(each)[self.axis] == self.value and axes.agree(axes.rest(each, self.others), key)
        ]
        exact = [each for each in alike if axes.rest(each, self.others) == key] or alike
        called = axes.heading(self.axis, self.value)
        if len(exact) > 1:
            return None, f"several cases have {called}: {', '.join(each.arm for each in exact[:3])}"
        return (exact[0], "") if exact else (None, f"{name(case)}: no case with {called} is equal in all else")

    def _pairs(self, comparison: Comparison, metric: Metric, base: Case) -> dict[str, dict[str, Any]]:
        """All arms of a comparison against a baseline, judged together: as `modbench report --baseline` has them."""
        key = (comparison.label, metric.key, base.arm)
        if key not in self._against:
            rows = [
                pairs.of_family(pairs.pair_row(self.tables, each, base, metric), "all arms", primary=True)
                for each in comparison.arms
                if each.arm != base.arm
            ]
            pairs.settle(self.tables, rows, self.twins)
            self._against[key] = {row["case_id"]: row for row in rows}
        return self._against[key]

    def _judge(self, columns: Sequence[Column]) -> None:
        """Judge the rows across places: those of one column together."""
        for column in columns:
            rows = [cell.row for cell in column.cells.values() if cell.row is not None and "evidence" in cell.row]
            pairs.settle(self.tables, rows, self.twins)

    def _called(self) -> str:
        if self.value is not None:
            return axes.heading(self.axis, self.value)
        arms = {case.arm: case for case in self.plan.cases}
        return name(arms[self.arm]) if self.arm else name(self.plan.comparisons[0].arms[0])

    def _order(self, columns: Sequence[Column]) -> list[Value]:
        """The values of the axis; a baseline that is none of its numbers stands first."""
        found = {value for column in columns for value in column.cells}
        return [*([BASELINE] if BASELINE in found else []), *(value for value in self.known if value in found)]

    def _notes(self, columns: Sequence[Column], dropped: Sequence[Column]) -> Iterator[str]:
        rows = [cell.row for column in columns for cell in column.cells.values() if cell.row is not None]
        if any(unpaired.NOT_INTERLEAVED in str(row.get("reason")) for row in rows):
            yield f"{unpaired.NOT_INTERLEAVED}, so that what drifts between them is not in the interval of a time"
            if self.axis in {"seq_len", "batch_size"}:
                yield f"another {self.axis} is another amount of work: tokens_per_s/… compares the time per token"
        plain = [case for case in self.loaded.arms if axes.fields(case)[self.axis] is None]
        left = [name(case) for case in plain if name(case) != self._called()]
        if left:
            yield f"{self.axis} does not apply to {'; '.join(left)}"
        for why in dict.fromkeys(cell.why for column in dropped for cell in column.cells.values() if cell.why):
            yield f"left out: {why}"


def _fits(key: Heading, heading: Heading) -> bool:
    """Whether a case belongs under a heading: fields that do not apply to it, or to the others there, decide nothing."""
    there = dict(heading)
    return all(value is None or there.get(each, value) == value for each, value in key)


def _distinguishing(wanted: Sequence[Measured], others: Sequence[str]) -> dict[str, set[str]]:
    """Return by metric the fields that its columns differ in, where they apply; the length always."""
    found: dict[str, dict[str, set[Value]]] = {}
    for _, metric, case in wanted:
        seen = found.setdefault(metric.key, {})
        for key, value in axes.rest(case, others):
            seen.setdefault(key, set()).add(value)
    return {
        metric: {key for key, values in seen.items() if key == "seq_len" or len(values - {None}) > 1}
        for metric, seen in found.items()
    }
