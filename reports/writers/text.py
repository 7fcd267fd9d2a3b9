"""Plain text for a terminal: tables whose cells are as short as can be, what their marks mean, and wrapped sentences."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.core.printable import aligned
from modbench.harness.core.units import scale_of
from modbench.harness.domain.case import Case
from modbench.harness.stats.contrast import BETTER, DIFFERENT, EQUIVALENT, INCONCLUSIVE, WORSE
from modbench.reports.model import (
    ILLUSTRATION,
    Alert,
    Block,
    Estimate,
    Figure,
    Finding,
    Labelled,
    Note,
    Sentence,
    Table,
    Value,
)
from modbench.reports.wording import name, short
from modbench.reports.writers.number_format import NONE, Inline, bare, half, interval, plain, scale

T = TypeVar("T")
# Wider text is hard to read.
WIDEST = 120
# Marks behind a number, each explained below the tables where it occurs.
FUTURE, DISTURBED, TAIL, FEW = "†", "‡", "§", "¹"
# Behind the best of a column; behind an arm whose times may not be those of the work that it claims; before a ratio that is not
# the quotient of the two times beside it; where it is open.
BEST, WORK, APART, OPEN = "*", "!", "~", "?"
# In place of a number.
FAILED = "failed"
# Before a ratio of CPU times.
BY_CPU = "c"
GLYPHS = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "≈", DIFFERENT: "≠", INCONCLUSIVE: OPEN}
# What marks mean, in the order in which they are explained: in a few words, and in sentences.
_WORDS = {"▲": "faster", "▼": "slower", "≈": "equal", "≠": "differs"}
_MEANINGS = {
    FUTURE: f"{Label.NOT_AUTOREGRESSIVE}: not comparable with a causal loss",
    DISTURBED: "contaminated: the machine was disturbed, its wall time supports no claim",
    TAIL: f"{Label.TAIL}: the median and the mean disagree; comparisons.csv has both",
    FEW: f"{ILLUSTRATION}: too few seeds for a claim",
    f" {WORK} ": "its times may not be those of the work that it claims: see what to doubt",
}
BY_CPU_MEANS = f"{BY_CPU} {Label.BY_CPU}"
APART_MEANS = "~ not the quotient of the two times: the ratio is of the processes alone in which both were timed"


def width() -> int:
    """The width of the terminal in characters; 80 where there is none."""
    return min(WIDEST, shutil.get_terminal_size().columns)


# A space at which no line ends, and those that become one: before a %, and around the sign of `T = 512`.
_GLUE = "\u00a0"
_WITHIN = re.compile(r" (?=%)|(?<=\b[A-Z]) (?== \d)|(?<=\b[A-Z] =) (?=\d)")


def wrapped(sentences: Iterable[Value], columns: int, indent: str = "") -> list[str]:
    """Wrap each sentence to the width. A path, an id, `5 %` and `T = 512` stay whole; further lines begin with the indent."""
    return [
        line.replace(_GLUE, " ")
        for sentence in sentences
        for line in textwrap.wrap(
            _WITHIN.sub(_GLUE, plain(sentence)),
            columns,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
    ]


def alike(told: Iterable[tuple[Value, T]]) -> list[list[T]]:
    """Group what has values that read alike: two shares of which a reader sees the same digits are one."""
    return [*grouped((plain(said), each) for said, each in told).values()]


def cut(words: str, most: int) -> str:
    """Cut a text to at most so many characters."""
    return words if len(words) <= most else f"{words[: most - 1]}…"


def joined(parts: Iterable[str], columns: int) -> list[str]:
    """Join short parts to lines of at most this width; none is divided."""
    lines = list[str]()
    for part in parts:
        if lines and len(f"{lines[-1]} · {part}") <= columns:
            lines[-1] += f" · {part}"
        else:
            lines += wrapped([part], columns)
    return lines


def written(blocks: Iterable[Block], columns: int) -> str:
    """Write blocks below each other, an empty line before and after each table; a figure is named, not shown."""
    lines = list[str]()
    for block in blocks:
        match block:
            case Table():
                lines += ["", *table(block, columns), ""]
            case Alert():
                lines += wrapped([f"⚠ {plain(block.said)}"], columns)
            case Note():
                lines += wrapped([block.said], columns)
            case Figure():
                lines += wrapped([Sentence("Figure: {label}", label=block.label)], columns)
            case Sentence():
                lines += wrapped([block], columns)
    return "\n".join(lines).strip("\n")


# --- tables


@dataclass(frozen=True)
class _Style(Inline):
    """How the cells of a table are written: with short names of arms, and of an estimate its interval alone."""

    called: bool = False
    brief: bool = False

    def __call__(self, value: Value) -> str:
        if isinstance(value, Labelled):
            return f"{self(value.case)}{f' {WORK}' * bool(OF_WORK.intersection(value.labels))}"
        if isinstance(value, Case):
            return short(value) if self.called else name(value)
        if isinstance(value, Estimate) and self.brief and value.closed:
            return interval(value).strip("[]")
        return super().__call__(value)

    def _sentence(self, sentence: Sentence) -> str:
        made = super()._sentence(sentence)
        return made.removeprefix("≈") if self.brief else made


# From the longest to the shortest.
BRIEF = _Style(called=True, brief=True)
_STYLES = (_Style(), _Style(called=True), BRIEF)


def table(made: Table, columns: int) -> list[str]:
    """Write a table in as many parts as the width needs; each part has the first columns, which name its rows.

    Names are short, and estimates stand without their value, only where that makes it fit. A unit that all numbers have stands
    beside the label.
    """
    best: list[str] = []
    for style in _STYLES:
        whole = [*zip(*cells(made, style), strict=True)]
        parts = _parts(whole, [*map(style, made.groups)], _stub(made), columns)
        lines = [line for part in parts for line in [*part, ""]][:-1]
        if not best or len(lines) < len(best):
            best = lines
        if len(parts) == 1 and max(map(len, parts[0])) <= columns:
            break
    left = [f"and {made.left_out:,} more {made.rows_are}" + f": in {made.file}" * bool(made.file)] * bool(made.left_out)
    return [line.rstrip() for line in [*best, *left]]


def cells(made: Table, style: Inline = _STYLES[0]) -> list[Sequence[str]]:
    """Write the cells of a table, its head first; the unit that most columns have stands beside the label, others in the head."""
    columns = [[row[at] for row in made.rows] for at in range(len(made.head))]
    values = [
        [cell.value for cell in column if isinstance(cell, Finding) and cell.value is not None] for column in columns
    ]
    units = [found[0].unit if found and found[0].kind == "quantity" else "" for found in values]
    largest: dict[str, float] = {}
    for unit, found in zip(units, values, strict=True):
        largest[unit] = max([largest.get(unit, 0.0), *(each.value or 0.0 for each in found)])
    scales = {unit: scale_of(value, unit) if unit else (1.0, "") for unit, value in largest.items()}
    corner = max(filter(None, units), key=units.count, default="") if made.head[0] == "" else ""
    written = list[list[str]]()
    for title, unit, column in zip(made.head, units, columns, strict=True):
        first = not written
        head = style(title) or (made.label if first else "")
        called = scales[corner if first else unit][1] if first or unit != corner else ""
        head += f", {called}" if called and called not in head else ""
        written.append([head, *_column(column, style, scales[unit][0])])
    return [*zip(*written, strict=True)]


def _stub(made: Table) -> int:
    """How many columns name the rows: the first, and others up to the first that holds a number or belongs to a group."""
    for at in range(1, len(made.head)):
        numbers = any(isinstance(row[at], int | Estimate | Finding | Sentence) for row in made.rows)
        if numbers or (made.groups and made.groups[at]):
            return at
    return 1


def _column(cells: Sequence[Value], style: Inline, factor: float) -> list[str]:
    """Write the cells of a column: values aligned, and beside them what is found; a mark behind the best."""
    made = [_finding(cell, factor) if isinstance(cell, Finding) else (style(cell), "") for cell in cells]
    if any(isinstance(cell, Finding) for cell in cells):
        first, second = (max((len(pair[i]) for pair in made if FAILED not in pair), default=0) for i in (0, 1))
        between = " " * bool(first and second)
        joined = [
            beside if beside == FAILED else f"{value.rjust(first)}{between}{beside.rjust(second)}"
            for value, beside in made
        ]
        texts = [text.rjust(max(map(len, joined))) for text in joined]
    else:
        texts = [value for value, _ in made]
    best = [isinstance(cell, Finding) and cell.best for cell in cells]
    return [f"{text}{BEST if mine else ' '}" for text, mine in zip(texts, best, strict=True)] if any(best) else texts


def _finding(found: Finding, factor: float) -> tuple[str, str]:
    """Write a value and what is found: `14.1` and `1.79×±.08▲`; a baseline has its value alone, a failure the word."""
    own = found.value
    value = "" if own is None else NONE if own.value is None else bare(own.value, own, factor)
    if found.status == FAILED:
        return "", FAILED
    if found.status != "ok":
        return value or NONE, ""
    return value, "" if found.against is None else compared(found)


def compared(found: Finding) -> str:
    """Write a comparison as short as can be, with half its interval and its mark: `1.79×±.08▲`, `+0.017±.004†`.

    Where it is known at equal cost too, that has the second mark: `1.79×±.08▲▼`.
    """
    second = "" if found.at_equal_cost is None else _mark(found.at_equal_cost)
    made = found.typical
    if made.value is None:
        return NONE
    if made.kind == "ratio":
        return f"{APART * found.apart}{BY_CPU * found.by_cpu}{made.value:.2f}×{half(made)}{_mark(found)}{second}"
    factor = scale(made)[0]
    digits = 1 if factor < 1 else 3  # of points one
    return f"{bare(made.value, made, factor)}{half(made.scaled(1 / factor), digits)}{_mark(found)}{second}"


def _mark(found: Finding) -> str:
    """The verdict as a glyph, or the mark of what stands below the tables; a blank where there is none."""
    if found.typical.kind == "difference":
        return (
            FUTURE
            if found.saw_future
            else FEW
            if ILLUSTRATION in found.labels
            else GLYPHS.get(found.verdict or "", " ")
        )
    if Label.CONTAMINATED in found.labels:
        return DISTURBED
    return GLYPHS.get(found.verdict or "", " ") + TAIL * (Label.TAIL in found.labels) if found.timed else ""


def _parts(columns: Sequence[Sequence[str]], groups: Sequence[str], stub: int, width: int) -> list[list[str]]:
    """Align columns, in as many parts as the width needs; columns of a group stay together."""
    named, rest = columns[:stub], list(range(stub, len(columns)))
    blocks: list[list[int]] = []
    for at in rest:
        if groups and blocks and groups[at] == groups[blocks[-1][0]]:
            blocks[-1].append(at)
        else:
            blocks.append([at])
    parts: list[list[list[int]]] = [[]]
    for block in blocks:
        if parts[-1] and len(_aligned(columns, groups, named, [*parts[-1], block])[0]) > width:
            parts.append([])
        parts[-1].append(block)
    return [_aligned(columns, groups, named, part) for part in parts]


def _aligned(
    columns: Sequence[Sequence[str]],
    groups: Sequence[str],
    named: Sequence[Sequence[str]],
    blocks: Sequence[Sequence[int]],
) -> list[str]:
    """Align columns below their titles, and these below the names of their groups."""
    lines = aligned([*zip(*named, strict=True)], whole=True)
    if not groups:
        texts = [columns[at] for block in blocks for at in block]
        return aligned([*zip(lines, *texts, strict=True)], right=range(1, 1 + len(texts)), whole=True)
    lines = [" " * len(lines[0]), *lines]
    for block in blocks:
        group, mine = groups[block[0]], [columns[at] for at in block]
        inner = aligned([*zip(*mine, strict=True)], right=range(len(mine)), gap=" ", whole=True)
        wide = max(len(group), len(inner[0]))
        lines = [
            f"{line}  {text}"
            for line, text in zip(lines, [group.ljust(wide), *(each.rjust(wide) for each in inner)], strict=True)
        ]
    return lines


def legend(
    lines: Iterable[str],
    against: str,
    *,
    paired: bool = True,
    readers: str = "",
    words: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """Explain the marks that occur in tables: in a few words, and in sentences.

    Args:
        lines: the tables.
        against: what ratios are taken to.
        paired: whether both sides of ratios with an interval were timed in turn.
        readers: who is meant by the mark of a loss that saw the future, besides its row.
        words: what glyphs mean that is not what they mean of times.
    """
    said = "\n".join(lines)
    of_pairs = "paired " * (paired and "×±" in said)
    parts = [f"{of_pairs}ratio: {against} ÷ row"] * ("×" in said) + ["± 95 %"] * ("±" in said)
    used = [f"{glyph} {word}" for glyph, word in {**_WORDS, **(words or {})}.items() if re.search(rf"\d{glyph}", said)]
    used += [f"{OPEN} open"] if re.search(r"[\d ]\?", said) else []
    parts += [" ".join(used)] if used else []
    parts += [f"{BEST} best"] * bool(re.search(rf"\S\{BEST}", said))
    meanings = {mark: readers * (mark == FUTURE) + words for mark, words in _MEANINGS.items()}
    sentences = [f"{mark.strip()} {words}" for mark, words in meanings.items() if mark in said]
    before = {APART: APART_MEANS, BY_CPU: BY_CPU_MEANS}
    return parts, [*sentences, *(words for mark, words in before.items() if re.search(rf"\W{mark}\d+\.\d+×", said))]
