"""The data of a report: numbers with their intervals, what was found, and the five kinds of block that writers print.

Questions and sections return blocks and format nothing; `markup/` turns them into text, HTML, Markdown or JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias, TypeGuard

from modbench.harness.core.labels import LOOKED_AHEAD, OF_PRECISION, Label
from modbench.harness.domain.case import Case, GridPoint
from modbench.harness.stats.effects import LEVEL
from modbench.harness.stats.verdicts import MIRRORED
from modbench.reports.wording import verdict_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawn

    from modbench.reports.figures.style import Marks


# What a number is, which decides how it is written: a quantity in its unit; a ratio to a baseline, above 1 better; a cost, in per
# cent of the baseline's; a share, in per cent; a difference, signed, in its unit (`%`: a share of what it is a difference from);
# a count; a p-value.
Kind: TypeAlias = Literal["quantity", "ratio", "cost", "share", "difference", "count", "p"]
# Units of what is paid: of these a baseline is shown as 100 %, and less is better.
PAID = frozenset({"FLOP", "B", "J", "count"})


class Interval(Protocol):
    """A number with an interval: an effect, an estimate, the result of a fit."""

    @property
    def value(self) -> float | None:
        """The number; None where it is not known."""

    @property
    def low(self) -> float | None:
        """Lower end; None where there is none."""

    @property
    def high(self) -> float | None:
        """Upper end."""


@dataclass(frozen=True)
class Estimate:
    """A number, and its interval if it has one.

    Attributes:
        value: None where only the interval is known, or nothing.
        low: lower end; None where it is open, or there is no interval.
        high: upper end.
        kind: what the number is.
        unit: base unit of a quantity or a difference (`harness/core/units.py`), or of what a ratio is taken of.
        n: how many processes, seeds or questions it is from; None where that is not counted.
        level: of the interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    kind: Kind = "quantity"
    unit: str = ""
    n: int | None = None
    level: float = LEVEL

    @classmethod
    def of(
        cls, value: object, low: object = None, high: object = None, *, kind: Kind = "quantity", unit: str = ""
    ) -> Estimate:
        """Return an estimate from cells of a table, which hold NaN or `pd.NA` where there is no number."""
        return cls(known(value), known(low), known(high), kind, unit)

    @classmethod
    def of_interval(cls, found: Interval, kind: Kind = "quantity", unit: str = "", n: int | None = None) -> Estimate:
        """Return an estimate from an effect, or whatever else has a value and an interval."""
        return cls(found.value, found.low, found.high, kind, unit, n)

    @property
    def closed(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.low is not None and self.high is not None

    @property
    def bounded(self) -> bool:
        """Whether at least one end is known."""
        return self.low is not None or self.high is not None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of the interval; None where it is not closed."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def half(self) -> float | None:
        """Half the interval; None where it is not closed."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def alone(self) -> Self:
        """The value without its interval."""
        return replace(self, low=None, high=None)

    @property
    def shown(self) -> Estimate:
        """What is printed of it: of a ratio of FLOPs, bytes, joules or counts the share of the baseline's."""
        return replace(self.mirrored(), kind="cost", unit="") if self.kind == "ratio" and self.unit in PAID else self

    def mirrored(self) -> Estimate:
        """Return the same seen from the other side: the inverse of a ratio, otherwise the negative."""

        def turned(number: float | None) -> float | None:
            return None if number is None else 1 / number if self.kind == "ratio" else -number

        return replace(self, value=turned(self.value), low=turned(self.high), high=turned(self.low))

    def scaled(self, factor: float, unit: str | None = None) -> Self:
        """Return it times a factor, in another unit if that is given."""
        value, low, high = (None if each is None else each * factor for each in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, unit=self.unit if unit is None else unit)


def is_number(cell: object) -> TypeGuard[int | float]:
    """Whether a table's cell holds a number."""
    return isinstance(cell, int | float) and cell == cell  # noqa: PLR0124  # NaN alone differs from itself


def known(cell: object) -> float | None:
    """Return a table's cell as a number; None where it holds none."""
    return float(cell) if is_number(cell) else None


def known_text(cell: object) -> str | None:
    """Return a table's cell as text; None where it holds none."""
    return cell if isinstance(cell, str) else None


@dataclass(frozen=True)
class Finding:
    """What a run says of one thing: a variant, alone or against another, in one metric, at one place.

    Attributes:
        what: the variant, or the name of something else that is compared.
        against: what it is compared with; None where it stands alone.
        where: place of the variant's case; None where there is none.
        metric: key of the metric.
        value: the variant's own value, beside what is found of it; None where it is not known, or not wanted.
        typical: the comparison that the verdict is on.
        other: by the other estimand, as the mean of a latency; None where there is none.
        verdict: word of `comparisons.csv`, or another fixed word of the question; None where nothing may be claimed.
        status: `ok`, `failed` or `skipped`.
        reason: why there is no number or no claim, or what else must be known.
        needed: how many processes or seeds would decide it; None where it is decided, or no number would.
        measure_next: where to measure next, a length or batch size, so that a point of the axis is known better; else None.
        labels: warnings that stand with the number in every output.
        against_labels: those of what it is compared with.
        apart: whether the quotient of both values is not the ratio of times: they come from other processes.
        best: whether it is significantly different from everything beside it, and better.
        matched: the same against the matched baseline, where a cell has room for both; else None.
    """

    what: Case | str
    against: Case | str | None = None
    where: GridPoint | None = None
    metric: str = ""
    value: Estimate | None = None
    typical: Estimate = Estimate(None)
    other: Estimate | None = None
    verdict: str | None = None
    status: str = "ok"
    reason: Value = None
    needed: int | None = None
    measure_next: int | None = None
    labels: tuple[str, ...] = ()
    against_labels: tuple[str, ...] = ()
    apart: bool = False
    best: bool = False
    matched: Finding | None = None

    @property
    def case(self) -> Case:
        """The variant."""
        assert isinstance(self.what, Case), "it is about a variant"
        return self.what

    @property
    def grid_point(self) -> GridPoint:
        """Place of the variant's case."""
        assert self.where is not None, "a case has a place"
        return self.where

    @property
    def timed(self) -> bool:
        """Whether it is a ratio of times, which are faster or slower; all else is better or worse."""
        return self.typical.kind == "ratio" and self.typical.unit == "s"

    @property
    def by_cpu(self) -> bool:
        """Whether it is a ratio of CPU times, since waiting moved wall time."""
        return Label.BY_CPU in (*self.labels, *self.against_labels)

    @property
    def saw_future(self) -> bool:
        """Whether a model of the two read later tokens: a loss is then not comparable with a causal one; a ratio of costs is."""
        return not LOOKED_AHEAD.isdisjoint((*self.labels, *self.against_labels))

    @property
    def weighed(self) -> list[str]:
        """Labels of both sides that a reader must see with the number, what weighs most first."""
        labels = {*self.labels, *self.against_labels} - (LOOKED_AHEAD if self.typical.kind == "ratio" else set())
        return sorted(labels, key=lambda label: (_WEIGHT.get(label, 0), label))

    def judged(self) -> Sentence:
        """Return the comparison with its verdict, or `no claim`, for where it stands alone: `1.62× [1.60–1.65] ▲ faster`."""
        words = "{ratio} {verdict}" + f" {Label.BY_CPU}" * self.by_cpu
        return Sentence(words, ratio=self.typical, verdict=verdict_words(self.verdict, timed=self.timed))

    def beside(self) -> Finding:
        """Return the same without the variant's own value."""
        return replace(self, value=None)

    def mirrored(self) -> Finding:
        """Return the same seen from the other side, without either's own value."""
        return replace(
            self,
            what=self.against if self.against is not None else self.what,
            against=self.what,
            value=None,
            typical=self.typical.mirrored(),
            other=None if self.other is None else self.other.mirrored(),
            verdict=MIRRORED.get(self.verdict or "", self.verdict),
            labels=self.against_labels,
            against_labels=self.labels,
        )


# The label of a number from too few seeds for an interval, and so for a claim.
ILLUSTRATION = "illustration"
# What weighs most stands first, what only says how well a number was measured last; all other labels between them.
_FIRST = (Label.NOISY, Label.BY_CPU, *sorted(LOOKED_AHEAD), ILLUSTRATION, Label.TAIL)
_WEIGHT = {label: at - len(_FIRST) for at, label in enumerate(_FIRST)} | dict.fromkeys(OF_PRECISION, 1)


@dataclass(frozen=True)
class Code:
    """Text in the font of code: a command, a file, an id; in the HTML report a link, where it stands for a section there."""

    text: Value
    section: str = ""


@dataclass(frozen=True)
class Listed:
    """Several values, one after the other; of more than `most` the rest are counted."""

    values: Sequence[Value]
    between: str = ", "
    last: str = ""
    most: int = 0


class Sentence:
    """A sentence: its words with `{names}`, and the values that stand there. What is true of it is asserted of its values.

    A noun may follow a number: of `{n:seed}` the plural is `seeds`, of `{n:case is|cases are}` the second part.
    """

    def __init__(self, words: str, /, **given: Value) -> None:
        self.words, self.given = words, given

    def __repr__(self) -> str:
        return f"Sentence({self.words!r}, {self.given!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sentence) and (self.words, self.given) == (other.words, other.given)

    def __hash__(self) -> int:
        return hash(self.words)


# What a sentence or a cell holds; a whole number is a count.
Value: TypeAlias = "str | int | Case | GridPoint | Estimate | Finding | Code | Listed | Sentence | None"


def where_it_ran(grid_point: GridPoint, others: Collection[GridPoint] | None = None) -> Sentence:
    """Say where a case runs: `T = 512, B = 1, fp32`; among other places its length, and what distinguishes it from them."""
    differ = {
        field: others is None or len({getattr(each, field) for each in others}) > 1
        for field in ("batch_size", "dtype", "execution")
    }
    words = "T = {T}" + " + {new}" * bool(grid_point.new_tokens) + ", B = {B}" * differ["batch_size"]
    words += ", {dtype}" * differ["dtype"]
    words += ", {execution}" * (differ["execution"] and (others is not None or grid_point.execution != "eager"))
    how = {"dtype": grid_point.dtype, "execution": grid_point.execution}
    return Sentence(words, T=grid_point.seq_len, new=grid_point.new_tokens, B=grid_point.batch_size, **how)


@dataclass(frozen=True)
class Table:
    """A table. Columns that hold numbers alone are aligned right; where the corner is empty, the label may stand there.

    Attributes:
        label: what it shows: its heading, the line that unfolds it, and its name for readers who do not see it.
        head: titles of its columns.
        rows: its cells.
        groups: what columns have in common, one for each, such as the workload; empty: nothing.
        at: what all cells share besides, such as `B = 1, fp32`.
        notes: what must be known to read it.
        folded: whether it is collapsed at first where that is possible.
        left_out: rows that are not shown.
        file: what has all of them.
        rows_are: what a row is.
        names: what programs call the values in each column's cells, divided by spaces. Such a table can be sorted, filtered and
            saved in the HTML report.
        data: these values, in base units, a row for each row; None: the cells have them.
    """

    label: str
    head: Sequence[Value]
    rows: Sequence[Sequence[Value]]
    groups: Sequence[Value] = ()
    at: Value = ""
    notes: Sequence[Value] = ()
    folded: bool = False
    left_out: int = 0
    file: str = ""
    rows_are: str = "rows"
    names: Sequence[str] = ()
    data: pd.DataFrame | None = None

    def first(self, most: int) -> Table:
        """Return it with at most so many rows, the first; the others are counted."""
        return replace(self, rows=self.rows[:most], left_out=max(0, len(self.rows) - most))


def pivot(label: str, cells: Iterable[tuple[Value, Value, Value, Value]], corner: Value = "") -> Table:
    """Return a table of cells, each (row, group of its column, title of its column, cell); in the order in which they come."""
    rows: dict[Value, dict[tuple[Value, Value], Value]] = {}
    columns: dict[tuple[Value, Value], None] = {}
    for row, group, title, cell in cells:
        rows.setdefault(row, {})[group, title] = cell
        columns[group, title] = None
    groups = ["", *(group for group, _ in columns)]
    return Table(
        label,
        (corner, *(title for _, title in columns)),
        [[row, *(found.get(column) for column in columns)] for row, found in rows.items()],
        groups=groups if any(groups) else (),
    )


@dataclass(frozen=True)
class Figure:
    """A figure, drawn with `figures.style.new_figure`: in the HTML report as inline SVG, in a paper by `modbench figure`.

    Attributes:
        name: names it on the command line and its parts in the HTML report: unlike all other names there.
        figure: the matplotlib figure, in sentinel colours.
        label: what it shows, for readers who cannot see it.
        caption: at most two lines below it.
        data: what is drawn, one row for each mark or point of a line, in base units.
        wide: whether it scrolls sideways on a phone instead of shrinking.
        marks: what its marks say on hover and focus.
        key: variants whose marks it shows without a name beside them.
        least: width in pixels from which it stands beside its neighbours; 0: in a row of its own.
        against: what its ratios are taken to, where a reader chooses: of a section's figures the report shows those of one
            choice, the first one at first. Empty: there is no choice.
    """

    name: str
    figure: Drawn
    label: str
    caption: str | Sentence
    data: pd.DataFrame
    wide: bool = False
    marks: Marks | None = None
    key: Sequence[Case] = ()
    least: int = 0
    against: str = ""


@dataclass(frozen=True)
class Note:
    """Small print."""

    said: Value


@dataclass(frozen=True)
class Alert:
    """What a reader must know before anything else."""

    said: Value


Block: TypeAlias = Sentence | Table | Figure | Note | Alert
