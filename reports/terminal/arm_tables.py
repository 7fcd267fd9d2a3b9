"""The tables of the terminal: what every arm took at every length, beside its ratio to the baseline."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modbench.harness.core.case import Case
from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.core.units import scale_of, three_digits
from modbench.reports.questions import win_rate
from modbench.reports.tables import losses
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import TIMED, is_number
from modbench.reports.writers.text_table import aligned, paired

if TYPE_CHECKING:
    import pandas as pd

# Marks behind a number, each explained below the tables where it occurs.
FUTURE_MARK, DISTURBED_MARK, TAIL_MARK = "†", "‡", "§"
# The mark behind the best of a column, and behind the name of an arm whose times may not be those of the work that it claims.
BEST_MARK, WORK_MARK = "*", "!"
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
METRICS = frozenset(table.metric for table in TABLES) | {metric for _, metric in TIMED}


def tables(loaded: Loaded, width: int, *, every: bool = True) -> list[str]:
    """Return the lines of the tables of ratios, each as wide as the terminal at most; lengths that do not fit go below.

    Args:
        loaded: the run.
        width: of the terminal, in characters.
        every: whether FLOPs, memory and losses have tables too, not times alone; a run that timed nothing has them anyway.
    """
    metrics = loaded.run.plan.suite.metrics
    asked = [Shown(title, metric) for title, metric in TIMED if metric in metrics]
    every = every or not asked or len(loaded.arms) == 1
    asked += [each for each in TABLES if every and each not in asked and each.metric in metrics]
    rows = [loaded.arms[0], *loaded.arms_shown] if loaded.arms else []
    names = called(loaded, rows)  # the short ones where a table does not fit the width by the long ones
    lines = list[str]()
    for table in asked:
        made = columns(loaded, table, rows, best=True)
        if made:
            (heading, *_), *cells = made
            fitting = [in_parts([[heading, *each], *cells], width) for each in names]
            shortest: list[str] = min(fitting, key=len)
            lines += shortest
    lines += _losses(loaded, rows) if every else []
    left_out = len(loaded.arms) - len(rows)
    if lines and left_out > 0:
        lines += [f"and {left_out:,} more arms: in comparisons.csv", ""]
    return lines


def called(loaded: Loaded, cases: Sequence[Case]) -> tuple[list[str], list[str]]:
    """Return names of arms, long and short, with a mark behind those whose times may not be those of the work that they claim."""
    doubted = {case.arm for label, found in loaded.labelled().items() if label in OF_WORK for case in found}
    marks = [f" {WORK_MARK}" * (case.arm in doubted) for case in cases]
    long, brief = ([f"{how(case)}{mark}" for case, mark in zip(cases, marks, strict=True)] for how in (name, short))
    return long, brief


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


def columns(loaded: Loaded, table: Shown, arms: Sequence[Case], *, best: bool = False) -> list[list[str]]:
    """Return the columns of a table, each with its title: the arms' names, and a column for each length; none without data.

    Args:
        loaded: the run.
        table: which.
        arms: its rows.
        best: whether the best of each column has a mark, where it is told apart from all others.
    """
    lengths = [
        t for t in loaded.lengths_shown if any(loaded.case(case.arm, table.metric, t) is not None for case in arms)
    ]
    known = [loaded.value(case.arm, table.metric, t) for case in arms for t in lengths]
    values = [value for value in known if value is not None]
    if not lengths:
        return []
    unit = str(next(row for case in arms if (row := loaded.case(case.arm, table.metric, lengths[0])) is not None).unit)
    factor, called = scale_of(max(values, default=0.0), unit)
    made = [[f"{table.title}, {called}", *(name(case) for case in arms)]]
    for length in lengths:
        cells = paired([_cell(loaded, case, table.metric, length, factor) for case in arms])
        rows = [loaded.case(case.arm, table.metric, length) for case in arms] if best else []
        measured = {row.arm: row.case_id for row in rows if row is not None and row.status == "ok"}
        top = win_rate.best(loaded, table.metric, measured)
        made.append([f"T = {length:,}", *starred(cells, [case.arm == top for case in arms])])
    return made


def starred(cells: Sequence[str], best: Sequence[bool]) -> list[str]:
    """Return the cells of a column with a mark behind the best; as they are where none is shown to be the best."""
    marks = [BEST_MARK if mine else " " for mine in best] if any(best) else [""] * len(cells)
    return [f"{cell}{mark}" for cell, mark in zip(cells, marks, strict=True)]


def _cell(loaded: Loaded, case: Case, metric: str, length: int, factor: float) -> tuple[str, str]:
    """Format a cell: `14.1` and `1.79×±.08▲`; of the baseline its value alone."""
    value = loaded.value(case.arm, metric, length)
    own = loaded.case(case.arm, metric, length)
    if value is None:
        return ("" if own is None else "failed" if own.status == "failed" else "–"), ""
    said = three_digits(value / factor)
    row = loaded.pair(case.arm, metric, length)
    if row is None or row.status != "ok" or not is_number(row.ratio):
        return said, "" if row is None or case.arm == loaded.arms[0].arm else "–"
    return said, Ratio.of(row, row.unit).beside(loaded.value(loaded.arms[0].arm, metric, length), value)


def legend(text: str, against: str, *, readers: str = "") -> tuple[list[str], list[str]]:
    """Explain the marks that occur in tables: in a few words, and in sentences.

    Args:
        text: the tables.
        against: what ratios are taken to.
        readers: who is meant by the mark of a loss that saw the future, besides its row.
    """
    parts = [f"ratio: {against} ÷ row"] * ("×" in text) + ["± half of 95 %"] * ("±" in text)
    meanings = {"▲": "faster", "▼": "slower", "≈": "equal", "△": "different"}
    used = [f"{glyph} {word}" for glyph, word in meanings.items() if re.search(rf"\d{glyph}", text)]
    used += ["? open"] if re.search(r"[\d ]\?", text) else []
    parts += [" ".join(used)] if used else []
    parts += [f"{BEST_MARK} best"] * bool(re.search(rf"\S\{BEST_MARK}", text))
    said = {
        FUTURE_MARK: f"{readers}{Label.NOT_AUTOREGRESSIVE}: not comparable with a causal loss",
        DISTURBED_MARK: "contaminated: the machine was disturbed, its wall time supports no claim",
        TAIL_MARK: f"{Label.TAIL}: typical calls (shown) and the mean disagree; comparisons.csv has both",
        f" {WORK_MARK} ": "its times may not be those of the work that it claims: see what to doubt",
    }
    sentences = [f"{mark.strip()} {words}" for mark, words in said.items() if mark in text]
    return parts, [*sentences, APART_WORDS] if re.search(rf"{APART_MARK}\d", text) else sentences


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

    @classmethod
    def of(cls, row: pd.Series | Mapping[str, Any], unit: str) -> Ratio:
        """Return the ratio of a row of `comparisons.csv`; at smoke effort a label alone says that it is contaminated."""
        labels = str(row.get("labels")).split(";")
        verdict = "contaminated" if Label.CONTAMINATED in labels else row.get("verdict")
        ends = row.get("ci_low"), row.get("ci_high")
        return cls(row["ratio"], *ends, verdict, tail=Label.TAIL in labels, timed=unit == "s")

    def beside(self, base: float | None, value: float) -> str:
        """Format the ratio beside the baseline's value and the row's: `1.79×±.08▲`."""
        return f"{APART_MARK * self._apart(base, value)}{self.text}"

    @property
    def text(self) -> str:
        """The ratio alone: `1.79×±.08▲`."""
        return f"{self.value:.2f}×{_half(self.low, self.high)}{self._mark()}"

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
    return f"{said}{' ' * 8}" if row is None or row.status != "ok" else f"{said} {difference(row, loss)}"


def difference(row: pd.Series, loss: losses.Loss) -> str:
    """Format how far a loss lies above the baseline's: `+0.017 ±0.004†`."""
    half = f" ±{(row.ci_high - row.ci_low) / 2 * loss.factor:.3f}" if is_number(row.ci_low) else ""
    return f"{row.difference * loss.factor:+.3f}{half}{FUTURE_MARK if looked_ahead(row) else ' '}"
