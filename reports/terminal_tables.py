"""The tables of the terminal: what every arm took at every length, beside its ratio to the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import scale_of, three_digits
from modbench.reports import losses
from modbench.reports.cases import looked_ahead
from modbench.reports.load import Loaded
from modbench.reports.panel import is_number
from modbench.reports.style import name
from modbench.reports.text_table import aligned

# Marks behind a number, each explained below the tables where it occurs.
FUTURE_MARK, DISTURBED_MARK, TAIL_MARK = "†", "‡", "§"
# The mark before a ratio that says the opposite of the two times beside it, and its explanation.
APART_MARK = "~"
APART_WORDS = (
    "~ the two times say the opposite: ratios are taken within blocks of calls that lie beside each other, and may differ "
    "from the quotient of two times"
)
# Ratios this near to 1 point nowhere, whatever their interval.
NEAR = 0.02
# The verdict behind a ratio.
GLYPHS = {"better": "▲", "worse": "▼", "equivalent": "≈", "different": "△", "inconclusive": "?"}


@dataclass(frozen=True)
class Shown:
    """A table of the terminal.

    Attributes:
        title: heading of its first column.
        metric: the metric.
    """

    title: str
    metric: str


TABLES = (
    Shown("forward pass", "latency/forward"),
    Shown("train step", "latency/train_step"),
    Shown("forward FLOPs", "flops/forward"),
    Shown("peak memory", "memory/peak_allocated"),
    Shown("KV cache", "memory/kv_cache"),
)
METRICS = frozenset(table.metric for table in TABLES)


def tables(loaded: Loaded, width: int) -> list[str]:
    """Return the lines of all tables of ratios, each as wide as the terminal at most; lengths that do not fit go below."""
    lines = list[str]()
    rows = [loaded.arms[0], *loaded.arms_shown] if loaded.arms else []
    for table in TABLES:
        if table.metric in loaded.run.plan.suite.metrics:
            lines += _table(loaded, table, rows, width)
    lines += _losses(loaded, rows)
    left_out = len(loaded.arms) - len(rows)
    if lines and left_out > 0:
        lines += [f"and {left_out:,} more arms: in comparisons.csv", ""]
    return lines


def _table(loaded: Loaded, table: Shown, arms: Sequence[Case], width: int) -> list[str]:
    """Return one table, in as many parts as its lengths need."""
    return in_parts(columns(loaded, table, arms), width)


def in_parts(columns: Sequence[Sequence[str]], width: int) -> list[str]:
    """Align columns beside the first, in as many tables below each other as the width needs; none without columns."""
    head, *left = columns or [[]]
    lines = list[str]()
    while left:
        fit = len(left)
        while fit > 1 and len(aligned(list(zip(head, *left[:fit], strict=True)))[0]) > width:
            fit -= 1
        lines += [*aligned(list(zip(head, *left[:fit], strict=True))), ""]
        left = left[fit:]
    return lines


def columns(loaded: Loaded, table: Shown, arms: Sequence[Case]) -> list[list[str]]:
    """Return the columns of a table, each with its title: the arms' names, and a column for each length; none without data."""
    lengths = [
        t for t in loaded.lengths_shown if any(loaded.case(case.arm, table.metric, t) is not None for case in arms)
    ]
    known = [loaded.value(case.arm, table.metric, t) for case in arms for t in lengths]
    values = [value for value in known if value is not None]
    if not lengths:
        return []
    unit = str(next(row for case in arms if (row := loaded.case(case.arm, table.metric, lengths[0])) is not None).unit)
    factor, called = scale_of(max(values, default=0.0), unit)
    names = [f"{table.title}, {called}", *(name(case) for case in arms)]
    return [names, *([f"T = {t:,}", *(_cell(loaded, case, table.metric, t, factor) for case in arms)] for t in lengths)]


def _cell(loaded: Loaded, case: Case, metric: str, length: int, factor: float) -> str:
    """Format a cell: `14.1 1.79×±.08▲`; of the baseline its value alone."""
    value = loaded.value(case.arm, metric, length)
    own = loaded.case(case.arm, metric, length)
    if value is None:
        return "" if own is None else "failed" if own.status == "failed" else "–"
    said = three_digits(value / factor)
    row = loaded.pair(case.arm, metric, length)
    if row is None or row.status != "ok" or not is_number(row.ratio):
        return said if row is None or case.arm == loaded.arms[0].arm else f"{said} –"
    labels = row.labels.split(";") if isinstance(row.labels, str) else []
    verdict = "contaminated" if Label.CONTAMINATED in labels else row.verdict  # at smoke effort the label alone
    found = Ratio(row.ratio, row.ci_low, row.ci_high, verdict, tail=Label.TAIL in labels, timed=row.unit == "s")
    return f"{said} {found.beside(loaded.value(loaded.arms[0].arm, metric, length), value)}"


@dataclass(frozen=True)
class Ratio:
    """A ratio to the baseline, as a table of the terminal shows it.

    Attributes:
        value: above 1 the row is better.
        low: lower end of its 95 % interval; no number where there is none.
        high: upper end.
        verdict: on the row; no text where there is none.
        tail: whether typical calls and the mean disagree.
        timed: whether it is one of times.
    """

    value: float
    low: object
    high: object
    verdict: object
    tail: bool
    timed: bool

    def beside(self, base: float | None, value: float) -> str:
        """Format the ratio beside the baseline's value and the row's: `1.79×±.08▲`."""
        apart = APART_MARK * self._apart(base, value)
        return f"{apart}{self.value:.2f}×{_half(self.low, self.high)}{self._mark()}"

    def _apart(self, base: float | None, value: float) -> bool:
        """Whether a ratio of times lies above 1 and the quotient of the two times below, or the other way round."""
        if not self.timed or base is None:
            return False
        ends = (self.low, self.high)
        low, high = (end if isinstance(end, float) and not math.isnan(end) else self.value for end in ends)
        above, below = min(low, self.value - NEAR) > 1, max(high, self.value + NEAR) < 1
        return bool((above and base < value) or (below and base > value))

    def _mark(self) -> str:
        """The verdict as a glyph, or the mark of what stands below the tables; a blank where there is none."""
        if self.verdict == "contaminated":
            return DISTURBED_MARK
        if self.tail:
            return TAIL_MARK
        return (GLYPHS.get(self.verdict, " ") if isinstance(self.verdict, str) else " ") if self.timed else ""


def _half(low: object, high: object) -> str:
    """Half the interval: `±.08`, or `±1.20`; empty where there is none."""
    if not isinstance(low, float) or not isinstance(high, float) or math.isnan(low) or math.isnan(high):
        return ""
    text = f"{(high - low) / 2:.2f}"
    return f"±{text.removeprefix('0')}"


def _losses(loaded: Loaded, arms: Sequence[Case]) -> list[str]:
    """Return the table of held-out losses, all in one unit: its value, and its difference to the baseline."""
    shown = losses.shown(loaded)
    if not shown:
        return []
    head = [f"held-out loss, {shown[0].unit} (lower is better)", *(each.title for each in shown)]
    rows = [[name(case), *(_loss(loaded, case, each) for each in shown)] for case in arms]
    return [*aligned([head, *rows]), ""]


def _loss(loaded: Loaded, case: Case, loss: losses.Loss) -> str:
    value = loaded.value(case.arm, loss.metric)
    own = loaded.case(case.arm, loss.metric)
    if value is None:
        return "" if own is None else "failed" if own.status == "failed" else "–"
    said, row = f"{value * loss.factor:.3f}", loaded.pair(case.arm, loss.metric)
    if row is None or row.status != "ok":
        return f"{said}{' ' * 8}"
    half = f" ±{(row.ci_high - row.ci_low) / 2 * loss.factor:.3f}" if is_number(row.ci_low) else ""
    return f"{said} {row.difference * loss.factor:+.3f}{half}{FUTURE_MARK if looked_ahead(row) else ' '}"
