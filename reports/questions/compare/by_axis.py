"""Compares the cases of one run along an axis: `modbench compare RUN --by capacity --baseline c0.25`.

Two arms at one place were timed side by side and are compared as in `comparisons.csv`. Two places were measured in processes of
their own: see `unpaired.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from modbench.harness.core.case import Case, Comparison
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.planning.select import compile_expression
from modbench.harness.stats import memo
from modbench.reports.questions.compare import unpaired
from modbench.reports.questions.compare.axis_table import BASELINE, AlongAxis, Cell, Column, Filter, Heading
from modbench.reports.tables import axes, comparisons
from modbench.reports.tables.axes import Value
from modbench.reports.tables.comparison_row import pair_row
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.outcomes import arm_named
from modbench.reports.wording import name

# Fields of a case that are none of its arm's.
OUTER = (*axes.PLACE, "task", "budget")
# Fields that stay in a heading even where others imply them.
NAMED = (*OUTER, "arm", "model", "capacity")
Measured: TypeAlias = tuple[Comparison, Metric, Case]


def compare_by(loaded: Loaded, axis: str, baseline: str | None = None, keep: Filter | None = None) -> AlongAxis:
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
        cases = self.plan.cases
        known = axes.of(cases)
        self.axis = axes.checked_axis(axis, [*known.values()])
        self.at = {case: fields[self.axis] for case, fields in known.items()}
        self.known = axes.ordered(self.at.values())
        self.value = None if baseline is None or axis == "arm" else axes.value_named(axis, baseline, self.known)
        self.arm = self._arm(baseline) if baseline is not None and self.value is None else None
        differ = [each for each in axes.differing([*known.values()]) if each != axis]
        outer = [each for each in differ if each in OUTER]
        inner = [each for each in differ if each not in OUTER and each != "arm"]
        self.across = axis in OUTER
        # An arm stands for all its fields, where the axis is none of them.
        self.others = [*(["arm"] if self.across else inner if axis != "arm" else []), *outer]
        self.rest = {case.id: axes.rest(case, known[case.id], self.others) for case in cases}
        self.arms = {(each.label, case.arm): case for each in self.plan.comparisons for case in each.arms}
        self.matches = None if keep.select is None else compile_expression(keep.select)
        # Cases that have the value which is the baseline, by metric: what each other case is held against.
        self.with_value = self._with_value() if self.value is not None else {}
        self.values: dict[tuple[str, str], float] = {
            (row["case_id"], row["metric"]): row["value"]
            for row in loaded.cases.to_dict("records")
            if row["status"] == "ok"
        }
        self.twins = [{"verdict": verdict} for verdict in loaded.twins.verdict]
        self._told: dict[str, set[str]] = {}
        self._against: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}

    def _with_value(self) -> dict[str, list[Measured]]:
        found: dict[str, list[Measured]] = {}
        for comparison in self.plan.comparisons:
            for key in comparison.metrics:
                found.setdefault(key, []).extend(
                    (comparison, self.tables.metrics[key], case)
                    for case in comparison.arms
                    if self.at[case.id] == self.value
                )
        return found

    def _arm(self, text: str) -> str:
        try:
            return arm_named(self.plan.cases, text, "baseline").arm
        except UsageError as error:
            values = ", ".join(axes.in_words(self.axis, value) for value in self.known if value is not None)
            raise UsageError(f"{error} Or name a value of {self.axis}: {values}.") from error

    def table(self) -> AlongAxis:
        """Compare, judge, and say what was left out."""
        wanted = list(self._measured())
        if not wanted:
            filters = "--metric, --seq-len, --workload or -k"
            raise UsageError(f"no case with a value of {self.axis} is left: loosen {filters}.")
        self._told = _distinguishing(wanted, self.rest)
        columns: dict[tuple[str, Heading], Column] = {}
        with memo.remembering():
            for comparison, metric, case in wanted:
                heading = self._heading(case, metric)
                there = columns.get((metric.key, heading))
                if there is not None and self._taken(there, case):  # told apart by nothing but its arm
                    heading = (*heading, ("arm", case.arm))
                self._fill(columns.setdefault((metric.key, heading), Column(metric, heading)), comparison, case)
        made = [column for column in columns.values() if self._compares(column)]
        dropped = [column for column in columns.values() if not self._compares(column)]
        if not any(cell.row for column in made for cell in column.cells.values()):
            whys = [cell.why for column in dropped for cell in column.cells.values() if cell.why]
            raise UsageError(f"nothing can be compared: {whys[0] if whys else 'only the baseline itself is left'}.")
        self._judge(made)
        # What belongs to one model stands together, place by place.
        keys, models = self.plan.suite.metrics, list(dict.fromkeys(_without_place(column.heading) for column in made))
        made.sort(key=lambda column: (keys.index(column.metric.key), models.index(_without_place(column.heading))))
        return AlongAxis(self.axis, self._called(), self._order(made), made, tuple(self._notes(made, dropped)))

    def _measured(self) -> Iterator[Measured]:
        for key in self.keep.metrics:
            if key not in self.plan.suite.metrics:
                raise unknown("metric", key, self.plan.suite.metrics)
        for comparison in self.plan.comparisons:
            for metric in (self.tables.metrics[key] for key in comparison.metrics):
                for case in comparison.arms:
                    if self._kept(case, metric):
                        yield comparison, metric, case

    def _kept(self, case: Case, metric: Metric) -> bool:
        matches = self.matches is None or self.matches(case.id)
        return self.at[case.id] is not None and matches and self.keep.keeps(case, metric)

    def _heading(self, case: Case, metric: Metric) -> Heading:
        told = self._told[metric.key]
        return tuple(each for each in self.rest[case.id] if each[0] in told and each[1] is not None)

    def _taken(self, column: Column, case: Case) -> bool:
        """Whether another case, which is no baseline beside others, has its place in the column."""
        cell = column.cells.get(self.at[case.id])
        return cell is not None and cell.case.id != case.id and not cell.is_baseline

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
        cell = column.cells[self.at[case.id]] = Cell(case, self._value(case, metric), why=why)
        if base is None or base.id == case.id:
            return
        if self.value is not None or not self.across:  # else it has a column of its own
            own = self.at[base.id]
            key = tuple((each, value) for each, value in self.rest[base.id] if each in self._told[metric.key])
            here = self.value is not None or (own is not None and _fits(key, column.heading))
            column.cells.setdefault(own if here else BASELINE, Cell(base, self._value(base, metric)))
        if case.place == base.place:
            cell.row = self._pairs(comparison, metric, base)[case.id]
        else:
            result = unpaired.result if self.tables.made_in(metric).samples == "launches" else None
            row = pair_row(self.tables, case, base, metric, result)
            cell.row = comparisons.of_family(row, (metric.key, column.heading), primary=True)

    def _value(self, case: Case, metric: Metric) -> float | None:
        return self.values.get((case.id, metric.key))

    def _baseline(self, comparison: Comparison, metric: Metric, case: Case) -> tuple[Case | None, str]:
        """Return what a case is compared with; or why there is nothing."""
        if self.value is None:
            if self.arm is None:
                return comparison.arms[0], ""
            found = self.arms.get((comparison.label, self.arm))
            return found, "" if found else f"{self.arm} was not measured at {comparison.label}"
        key = self.rest[case.id]
        alike = [
            each
            for other, _, each in self.with_value.get(metric.key, [])
            if (self.across or other is comparison) and axes.agree(self.rest[each.id], key)
        ]
        exact = [each for each in alike if self.rest[each.id] == key] or alike
        called = axes.heading(self.axis, self.value)
        if len(exact) > 1:
            return None, f"several cases have {called}: {', '.join(each.arm for each in exact[:3])}"
        return (exact[0], "") if exact else (None, f"{name(case)}: no case with {called} is equal in all else")

    def _pairs(self, comparison: Comparison, metric: Metric, base: Case) -> dict[str, dict[str, Any]]:
        """All arms of a comparison against a baseline, one family: as `modbench report --baseline` has them."""
        family = (comparison.label, metric.key, base.arm)
        if family not in self._against:
            others = [each for each in comparison.arms if each.id != base.id]
            rows = (pair_row(self.tables, each, base, metric) for each in others)
            self._against[family] = {row["case_id"]: comparisons.of_family(row, family, primary=True) for row in rows}
        return self._against[family]

    def _judge(self, columns: Sequence[Column]) -> None:
        """Judge all rows at once; those across places among the others of their column."""
        rows = [row for family in self._against.values() for row in family.values()]
        known = {id(row) for row in rows}
        rows += [
            c.row for column in columns for c in column.cells.values() if c.row is not None and id(c.row) not in known
        ]
        comparisons.settle(self.tables, rows, self.twins)

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
        plain = [case for case in self.loaded.arms if self.at[case.id] is None]
        left = [name(case) for case in plain if name(case) != self._called()]
        if left:
            yield f"{self.axis} does not apply to {'; '.join(left)}"
        for why in dict.fromkeys(cell.why for column in dropped for cell in column.cells.values() if cell.why):
            yield f"left out: {why}"


def _fits(key: Heading, heading: Heading) -> bool:
    """Whether a case belongs under a heading: fields that do not apply to it, or to the others there, decide nothing."""
    there = dict(heading)
    return all(value is None or there.get(each, value) == value for each, value in key)


def _without_place(heading: Heading) -> Heading:
    return tuple((field, value) for field, value in heading if field not in axes.PLACE)


def _distinguishing(wanted: Sequence[Measured], rest: Mapping[str, Heading]) -> dict[str, set[str]]:
    """Return by metric the fields that name its columns: those that differ where they apply, none that others imply."""
    keys: dict[str, dict[Heading, None]] = {}
    for _, metric, case in wanted:
        keys.setdefault(metric.key, {})[rest[case.id]] = None
    return {metric: _needed([dict(each) for each in found]) for metric, found in keys.items()}


def _needed(found: Sequence[Mapping[str, Value]]) -> set[str]:
    told = [key for key in found[0] if key == "seq_len" or len({each[key] for each in found} - {None}) > 1]
    for key in [each for each in told if each not in NAMED]:
        less = [each for each in told if each != key]
        if len({tuple(each[k] for k in less) for each in found}) == len(
            {tuple(each[k] for k in told) for each in found}
        ):
            told = less
    return set(told)
