"""Compares the cases of one run along an axis: `modbench compare RUN --by capacity --baseline c0.25`.

Two variants at one place were timed side by side and are compared as in `comparisons.csv`. Two places (another length, batch
size or number format) were measured in processes of their own: no round holds both, so that drift does not cancel, and their
processes' own times are compared as two samples of unequal variance (Welch).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import filterfalse
from typing import Any, TypeAlias

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import of_cell
from modbench.harness.domain.case import Case, Comparison
from modbench.harness.planning.select import compile_expression
from modbench.reports.blocks import Estimate, Finding, Listed, Sentence, Table, pivot
from modbench.reports.blocks import Value as Shown
from modbench.reports.markup.short import MARKS
from modbench.reports.questions import win_rate
from modbench.reports.questions.summary import measured_on
from modbench.reports.tables import axes, comparisons, losses
from modbench.reports.tables.axes import Value
from modbench.reports.tables.comparisons import NOT_INTERLEAVED, pair_row
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.pairs import of_row
from modbench.reports.wording import BYTES, WORKLOADS, name, variant_named

# How metrics are called in headings; the others by their keys.
TITLES = WORKLOADS | BYTES | {"bpb/val": "bits/byte", "loss/val": "nats/token", "loss/val_causal": "nats/token, causal"}
BASELINE = "baseline"


@dataclass(frozen=True)
class Filter:
    """What of the run is shown, `select` in pytest's grammar of case ids; empty: all."""

    metrics: tuple[str, ...] = ()
    seq_lens: tuple[int, ...] = ()
    workloads: tuple[str, ...] = ()
    select: str | None = None

    def keeps(self, case: Case, metric: Metric) -> bool:
        """Whether a value is shown."""
        return (
            (not self.metrics or metric.key in self.metrics)
            and (not self.seq_lens or case.grid_point.seq_len in self.seq_lens)
            and (not self.workloads or metric.workload in self.workloads)
            and (self.matches is None or self.matches(case.id))
        )

    @cached_property
    def matches(self) -> Callable[[str], bool] | None:
        """Whether the id of a case is one of those that are selected; None: all are."""
        return None if self.select is None else compile_expression(self.select)


@dataclass
class Cell:
    """One case and metric, against its baseline.

    Attributes:
        case: the case.
        value: in the metric's unit; None where it has none.
        row: the pair as a row of `comparisons.csv`; None for the baseline itself, or where there is none.
        why: why there is no row.
    """

    case: Case
    value: float | None
    row: dict[str, Any] | None = None
    why: str = ""

    @property
    def is_baseline(self) -> bool:
        """Whether others are compared with it."""
        return self.row is None and not self.why

    @property
    def lack(self) -> str:
        """Why it has no comparison; empty where it has one, or is the baseline."""
        if self.row is None:
            return self.why
        return "" if self.row["status"] == "ok" else f"{self.row['status']}: {self.row['reason']}"


# The fields that distinguish a column from the others of its metric, with their values.
Heading: TypeAlias = tuple[tuple[str, Value], ...]


@dataclass
class Column:
    """What is compared along the axis while all else is equal.

    Attributes:
        metric: the metric.
        heading: what distinguishes it from the other columns of the metric.
        cells: by value of the axis; a baseline that has no value of its own stands under `BASELINE`.
    """

    metric: Metric
    heading: Heading
    cells: dict[Value, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class AlongAxis:
    """One run along one axis.

    Attributes:
        axis: its name.
        baseline: the variant, or the value of the axis, that others are compared with, in words.
        by_default: whether that is the suite's baseline because none was named, though it has one of the values of the axis.
        rows: values of the axis, in order.
        columns: one for each metric and each combination of the other fields.
        notes: what must be known to read it.
    """

    axis: str
    baseline: str
    by_default: bool
    rows: list[Value]
    columns: list[Column]
    notes: tuple[str, ...]

    @property
    def across(self) -> bool:
        """Whether it runs over places, not over variants."""
        return self.axis in OUTER


# --- its tables

# Losses in the order in which one table prefers them: where routers decide as in generation, one is comparable with dense.
LOSSES = ("loss/val_causal", "bpb/val", "loss/val")
# Titles of the columns of one table, in its order.
IN_ONE = {metric: title.removesuffix(" pass") for metric, title in WORKLOADS.items()} | {
    "flops/forward": "FLOPs",
    "memory/peak_allocated": "memory",
    "memory/kv_cache": "KV cache",
}


def tables(loaded: Loaded, along: AlongAxis, *, every: bool) -> Iterator[Table]:
    """Yield a table for each workload, with lengths or other places side by side, and one of all else.

    Args:
        loaded: the run.
        along: its comparison.
        every: every metric in a table of its own, also with each case's value.
    """
    timed, rest = list[Column](), list[Column]()
    for column in along.columns:
        (timed if every or column.metric.key in WORKLOADS else rest).append(column)
    made: dict[str, list[_Cell]] = {}
    for key, mine in grouped((column.metric.key, column) for column in timed).items():
        fields = [field for column in mine for field, _ in column.heading if field in axes.PLACE or along.across]
        across = "seq_len" if "seq_len" in fields else fields[-1] if fields else ""
        titled, called = grouped((_titled(column, across), column) for column in mine), _called(loaded, key)
        for title, those in titled.items():
            at = [called, title] if len(titled) > 1 else [f"by {along.axis}", ", ".join(filter(None, [called, title]))]
            made.setdefault(at[0], []).extend(_cells(loaded, along, at[1], those, across, values=every))
    yield from (pivot(label, cells) for label, cells in made.items())
    if rest and not along.across:
        yield _one(loaded, replace(along, columns=rest), Filter(), values=False)


def one_table(loaded: Loaded, along: AlongAxis, keep: Filter) -> Table:
    """Return one table of all that was measured, for a paper.

    A column for each metric, a row for each variant or value of the axis.

    Times, FLOPs, memory and a loss, unless metrics are named; at the longest length of each, unless it has one that was named.

    Raises:
        UsageError: if nothing has a length that was named.
    """
    if keep.seq_lens and {_length(column) for column in along.columns}.isdisjoint(keep.seq_lens):
        raise UsageError(f"--seq-len {', '.join(map(str, keep.seq_lens))}: nothing that is compared has this length.")
    made = _one(loaded, along, keep, values=True)
    words = "Over {baseline}: a ratio above 1 and a difference below 0 are better; {seeds}"
    legend = Sentence(words, baseline=along.baseline, seeds=losses.seeds_in_words(loaded))
    return replace(
        made, label=f"{loaded.suite.name} by {along.axis}", notes=[legend, *along.notes, measured_on(loaded)]
    )


def _called(loaded: Loaded, key: str) -> str:
    """Return what headings call a metric; a loss by the unit of all losses of the run."""
    return TITLES.get(key, key).replace(losses.NATS, losses.unit_of(loaded)[0])


def _loss(along: AlongAxis) -> str | None:
    """Return the loss that one table shows."""
    cells = ((column.metric.key, cell) for column in along.columns for cell in column.cells.values())
    compared = {key for key, cell in cells if cell.row is not None and cell.value is not None}
    return next((key for key in LOSSES if key in compared), None)


def _one(loaded: Loaded, along: AlongAxis, keep: Filter, *, values: bool) -> Table:
    by_metric = grouped((column.metric.key, column) for column in along.columns)
    loss, chosen = _loss(along), list[tuple[str, int | None]]()
    for key in keep.metrics or [key for key in (*IN_ONE, loss) if key in by_metric] or [*by_metric]:
        lengths = [*map(_length, by_metric.get(key, []))]
        named = [each for each in keep.seq_lens if each in lengths]
        chosen += [(key, length) for length in named or sorted({*lengths}, key=lambda each: each or 0)[-1:]]
    usual = {length for key, length in chosen if key not in LOSSES} or {length for _, length in chosen}
    cells = list[_Cell]()
    for key, length in chosen:
        at = "" if length is None or (len(usual) == 1 and length in usual) else axes.heading("seq_len", length)
        title = ", ".join(filter(None, [IN_ONE.get(key) or _called(loaded, key), at]))
        here = [each for each in by_metric[key] if _length(each) == length]
        cells += _cells(loaded, along, title, here, "seq_len", values=values)
    at = axes.heading("seq_len", *usual) if len(usual) == 1 and None not in usual else ""
    return replace(pivot(at, cells, along.axis if values else ""), at=at)


# A cell of a table, with its row, the group of its column and its title.
_Cell: TypeAlias = tuple[Shown, Shown, Shown, Shown]


def _cells(
    loaded: Loaded, along: AlongAxis, title: str, columns: Sequence[Column], across: str, *, values: bool
) -> Iterator[_Cell]:
    """Yield the cells below one title, the best of each place marked; without values none of the baseline."""
    first = best(loaded, columns[0].metric, [cell for column in columns for cell in column.cells.values()])
    for column in columns:
        for value in along.rows:
            cell = column.cells.get(value)
            if cell is not None and (values or not cell.is_baseline):
                shown = replace(found(loaded, column.metric, cell), best=cell.case.id in first)
                yield _row(along, column, value, across), "", title, shown if values else shown.beside()


def _row(along: AlongAxis, column: Column, value: Value, across: str) -> str:
    """Name a row: the variant, unless it stands for all, and the fields of its place that no title names: `MoD 0.125, fp32`."""
    case, fields = column.cells[value].case, [each for each in column.heading if each[0] != across]
    variant = not along.across or "variant" in dict(fields)
    grid_point = [each for each in fields if each[0] in OUTER] + [(along.axis, value)] * along.across
    return ", ".join([name(case)] * variant + [axes.heading(*each) for each in grid_point])


def _titled(column: Column, across: str) -> str:
    """Write the field that a title names; empty: none does."""
    value = dict(column.heading).get(across)
    case = next(iter(column.cells.values())).case
    return "" if value is None else name(case) if across == "variant" else axes.heading(across, value)


def _length(column: Column) -> int | None:
    """Return the length of a column; None where the axis is the length itself."""
    found = dict(column.heading).get("seq_len")
    return found if isinstance(found, int) else None


def best(loaded: Loaded, metric: Metric, cells: Iterable[Cell]) -> set[str]:
    """Return the ids of the cases that are significantly the best of their place."""
    cases = [cell.case for cell in cells if cell.value is not None]
    places = grouped((case.grid_point, (case.variant, case.id)) for case in cases).values()
    found = (variants.get(win_rate.best(loaded, metric.key, variants) or "") for variants in map(dict, places))
    return {case for case in found if case}


def found(loaded: Loaded, metric: Metric, cell: Cell) -> Finding:
    """Return a cell as a finding: its value, and what is found of it against the baseline."""
    share = metric.unit == "ratio"
    own = Estimate(cell.value, kind="share" if share else "quantity", unit="" if share else metric.unit)
    own = losses.as_shown(loaded, own)
    alone = Finding(cell.case, None, cell.case.grid_point, metric.key, value=own, reason=cell.why or None)
    if cell.row is None:
        return replace(alone, against="") if cell.why else alone
    base = loaded.cases_by_id[str(cell.row["baseline_case_id"])]
    made = of_row(cell.row, cell.case, base, cell.value, loaded.values.get((base.id, metric.key)))
    if made.status != "ok":
        return made
    return replace(made, value=own, typical=losses.as_shown(loaded, made.typical))


# --- what must be known to read them


def remarks(along: AlongAxis, most: int, *, every: bool = True) -> Iterator[Shown]:
    """Say why cells of the tables have no comparison, which labels without a mark they have, and what else is known."""
    columns = along.columns if every else [each for each in along.columns if each.metric.key in {*IN_ONE, _loss(along)}]
    cells = [cell for column in columns for cell in column.cells.values()]
    whys = [(cell.lack, cell.case) for cell in cells if cell.lack]
    whys += [
        (label, cell.case) for cell in cells for label in of_cell((cell.row or {}).get("labels")) if label not in MARKS
    ]
    said = grouped((why, name(case)) for why, case in whys)
    for why, cases in [*said.items()][:most]:
        yield Sentence("{why}: {cases}", why=why, cases=Listed([*dict.fromkeys(cases)], most=1))
    if len(said) > most:
        yield Sentence("and {n} more: -v, --json", n=len(said) - most)
    yield from along.notes


# Fields of a case that are none of its variant's.
OUTER = (*axes.PLACE, *axes.CONDITIONS)
# Fields that stay in a heading even where others imply them.
NAMED = (*OUTER, "variant", "model", "capacity")
Measured: TypeAlias = tuple[Comparison, Metric, Case]


def compare_by(loaded: Loaded, axis: str, baseline: str | None = None, keep: Filter | None = None) -> AlongAxis:
    """Compare the cases of a run along an axis.

    Args:
        loaded: the run.
        axis: a field in which its cases differ: `capacity`, `seq_len`, `variant`.
        baseline: a value of the axis, else a variant; None: the suite's baseline.
        keep: what is shown; None: everything.

    Raises:
        UsageError: if there is no such axis, baseline or metric, or nothing is left to compare.
    """
    return _Maker(loaded, axis, baseline, keep or Filter()).table()


class _Maker:
    """Makes the table of one run, axis and baseline."""

    def __init__(self, loaded: Loaded, axis: str, baseline: str | None, keep: Filter) -> None:
        self.tables, self.loaded, self.keep, self.plan = loaded.tables, loaded, keep, loaded.plan
        known = axes.of(self.plan.cases)
        self.axis = axis = axes.checked_axis(axis, [*known.values()])
        self.at = {case: fields[axis] for case, fields in known.items()}
        self.known = axes.ordered(self.at.values())
        self.value = None if baseline is None or axis == "variant" else axes.value_named(axis, baseline, self.known)
        self.variant = self._variant(baseline) if baseline is not None and self.value is None else None
        differ = [each for each in axes.differing([*known.values()]) if each != axis]
        inner = [each for each in differ if each not in OUTER and each != "variant"]
        self.across = axis in OUTER
        # A variant stands for all its fields, where the axis is none of them.
        others = ["variant"] if self.across else inner if axis != "variant" else []
        others += [each for each in differ if each in OUTER]
        self.rest = {case.id: axes.rest(case, known[case.id], others) for case in self.plan.cases}
        # Cases that have the value which is the baseline, by metric: what each other case is held against.
        asked = (each for each in self.tables.asked() if self.value is not None and self.at[each[2].id] == self.value)
        self.with_value = grouped((each[1].key, each) for each in asked)
        self._against: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}

    def _variant(self, text: str) -> Case:
        try:
            return variant_named(self.plan.cases, text, "baseline")
        except UsageError as error:
            values = ", ".join(axes.in_words(self.axis, value) for value in self.known if value is not None)
            raise UsageError(f"{error} Or name a value of {self.axis}: {values}.") from error

    def table(self) -> AlongAxis:
        """Compare, judge, and say what was left out."""
        for key in self.keep.metrics:
            if key not in self.plan.suite.metrics:
                raise unknown("metric", key, self.plan.suite.metrics)
        asked = (each for each in self.tables.asked() if self.keep.keeps(each[2], each[1]))
        wanted = [each for each in asked if self.at[each[2].id] is not None]
        if not wanted:
            filters = "--metric, --seq-len, --workload or -k"
            raise UsageError(f"no case with a value of {self.axis} is left: loosen {filters}.")
        told = self._distinguishing(wanted)
        columns: dict[tuple[str, Heading], Column] = {}
        for comparison, metric, case in wanted:
            heading = tuple(each for each in self.rest[case.id] if each[0] in told[metric.key] and each[1] is not None)
            there = columns.get((metric.key, heading))
            taken = there and there.cells.get(self.at[case.id])
            if taken and taken.case.id != case.id and not taken.is_baseline:  # told apart by nothing but its variant
                heading = (*heading, ("variant", case.variant))
            column = columns.setdefault((metric.key, heading), Column(metric, heading))
            self._fill(column, comparison, case, told[metric.key])
        made = [*filter(self._compares, columns.values())]
        dropped = filterfalse(self._compares, columns.values())
        whys = dict.fromkeys(cell.why for column in dropped for cell in column.cells.values() if cell.why)
        rows = {id(cell.row): cell.row for column in made for cell in column.cells.values() if cell.row is not None}
        if not rows:
            raise UsageError(f"nothing can be compared: {next(iter(whys), 'only the baseline itself is left')}.")
        rows |= {id(row): row for family in self._against.values() for row in family.values()}
        comparisons.settle(self.tables, [*rows.values()], self.loaded.aa_control_verdicts)
        # What belongs to one model stands together, place by place.
        keys, models = self.plan.suite.metrics, list(dict.fromkeys(_without_place(column.heading) for column in made))
        made.sort(key=lambda column: (keys.index(column.metric.key), models.index(_without_place(column.heading))))
        found = {value for column in made for value in column.cells}
        anchor = self.plan.comparisons[0].variants[0]
        baseline = name(self.variant or anchor) if self.value is None else axes.heading(self.axis, self.value)
        named = self.variant is not None or self.value is not None
        return AlongAxis(
            self.axis,
            baseline,
            not (named or self.across or self.axis in {"variant", "model"}) and self.at[anchor.id] is not None,
            # A baseline that is none of the axis' values stands first.
            [*[BASELINE] * (BASELINE in found), *(value for value in self.known if value in found)],
            made,
            (*self._notes(rows.values(), baseline), *(f"left out: {why}" for why in whys)),
        )

    def _distinguishing(self, wanted: Sequence[Measured]) -> dict[str, set[str]]:
        """Return by metric the fields that name its columns: those that differ where they apply, none that others imply."""
        keys: dict[str, dict[Heading, None]] = {}
        for _, metric, case in wanted:
            keys.setdefault(metric.key, {})[*self.rest[case.id], (self.axis, self.at[case.id])] = None
        return {metric: _needed([dict(each) for each in found], self.axis) for metric, found in keys.items()}

    def _compares(self, column: Column) -> bool:
        """Whether a column has a comparison, or is the baseline's own beside those of other variants."""
        own = self.across and self.value is None
        return any(cell.row or (own and cell.is_baseline) for cell in column.cells.values())

    def _fill(self, column: Column, comparison: Comparison, case: Case, told: Collection[str]) -> None:
        """Add a case to its column, and its baseline beside it."""
        metric, values = column.metric, self.loaded.values
        base, why = self._baseline(comparison, metric, case)
        cell = column.cells[self.at[case.id]] = Cell(case, values.get((case.id, metric.key)), why=why)
        if base is None or base.id == case.id:
            return
        if self.value is not None or not self.across:  # else it has a column of its own
            own = self.at[base.id]
            # Fields that do not apply to it, or to the others there, decide nothing.
            there = dict(column.heading)
            key = [(each, value) for each, value in self.rest[base.id] if each in told]
            fits = own is not None and all(value is None or there.get(each, value) == value for each, value in key)
            at = own if self.value is not None or fits else BASELINE
            column.cells.setdefault(at, Cell(base, values.get((base.id, metric.key))))
        if case.grid_point == base.grid_point:
            cell.row = self._pairs(comparison, metric, base)[case.id]
        else:
            row = pair_row(self.tables, case, base, metric)
            cell.row = comparisons.of_family(row, (metric.key, column.heading), primary=True)

    def _baseline(self, comparison: Comparison, metric: Metric, case: Case) -> tuple[Case | None, str]:
        """Return what a case is compared with; or why there is nothing."""
        if self.value is None:
            variant = comparison.variants[0].variant if self.variant is None else self.variant.variant
            found = next((each for each in comparison.variants if each.variant == variant), None)
            return found, "" if found else f"{variant} was not measured at {comparison.label}"
        key = self.rest[case.id]
        alike = [
            each
            for other, _, each in self.with_value.get(metric.key, [])
            if (self.across or other is comparison) and axes.agree(self.rest[each.id], key)
        ]
        exact = [each for each in alike if self.rest[each.id] == key] or alike
        called = axes.heading(self.axis, self.value)
        if len(exact) > 1:
            return None, f"several cases have {called}: {', '.join(each.variant for each in exact[:3])}"
        return (exact[0], "") if exact else (None, f"{name(case)}: no case with {called} is equal in all else")

    def _pairs(self, comparison: Comparison, metric: Metric, base: Case) -> dict[str, dict[str, Any]]:
        """All variants of a comparison against a baseline, in families as `modbench report --baseline` has them."""
        key = (comparison.label, metric.key, base.variant)
        if key not in self._against:
            self._against[key] = {
                case.id: comparisons.of_family(pair_row(self.tables, case, base, metric), (*key, among), primary=True)
                for case, _, among in comparisons.against(comparison, base)
            }
        return self._against[key]

    def _notes(self, rows: Iterable[Mapping[str, Any]], baseline: str) -> Iterator[str]:
        if any(NOT_INTERLEAVED in str(row.get("reason")) for row in rows):
            yield f"{NOT_INTERLEAVED}, so that what drifts between them is not in the interval of a time"
            if self.axis in {"seq_len", "batch_size"}:
                yield f"another {self.axis} is another amount of work: tokens_per_s/… compares the time per token"
        plain = [name(case) for case in self.loaded.variants if self.at[case.id] is None and name(case) != baseline]
        if plain:
            yield f"left out, without {self.axis}: {'; '.join(plain)}"


def _without_place(heading: Heading) -> Heading:
    return tuple((field, value) for field, value in heading if field not in axes.PLACE)


def _needed(found: Sequence[Mapping[str, Value]], axis: str) -> set[str]:
    told = [key for key in found[0] if key != axis and (key == "seq_len" or len({e[key] for e in found} - {None}) > 1)]

    def differ(keys: Sequence[str]) -> int:
        return len({tuple(each[key] for key in keys) for each in found})

    # At each length variants are trained in batches of a size of its own.
    by_length = "seq_len" in {*told, axis}
    for key in [each for each in told if each not in NAMED or (each == "batch_size" and by_length)]:
        less = [each for each in told if each != key]
        also = [axis] if key == "batch_size" else []
        if differ([*less, *also]) == differ([*told, *also]):
            told = less
    return set(told)
