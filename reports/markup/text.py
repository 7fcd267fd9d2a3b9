"""Plain text for a terminal: tables in a given width, and wrapped sentences."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from modbench.harness.core.group_by import grouped
from modbench.harness.core.plain_text import aligned, escaped
from modbench.reports.blocks import Alert, Block, Estimate, Figure, Finding, Note, Sentence, Table, Value
from modbench.reports.markup.number_format import plain
from modbench.reports.markup.short import Short, cells

T = TypeVar("T")
# Wider text is hard to read.
WIDEST = 120


def width() -> int:
    """The width of the terminal in characters; 80 where there is none."""
    return min(WIDEST, shutil.get_terminal_size().columns)


# A space at which no line ends, and those that become one: before a %, and around the sign of `T = 512`.
_GLUE = "\u00a0"
_WITHIN = re.compile(r" (?=%)|(?<=\b[A-Z]) (?== \d)|(?<=\b[A-Z] =) (?=\d)")


def wrapped(sentences: Iterable[Value], columns: int) -> list[str]:
    """Wrap each sentence to the width. A path, an id, `5 %` and `T = 512` stay whole."""
    wrapper = textwrap.TextWrapper(columns, break_on_hyphens=False, break_long_words=False)
    lines = (line for sentence in sentences for line in wrapper.wrap(_WITHIN.sub(_GLUE, plain(sentence))))
    return [line.replace(_GLUE, " ") for line in lines]


def labelled(rows: Iterable[tuple[Value, Value]], columns: int, least: int = 0) -> list[str]:
    """Write rows of a word and what is said of it, wrapped beside the word, at least so many letters from the edge."""
    named = [(plain(word), plain(said)) for word, said in rows]
    indent = max(least, *(len(word) + 2 for word, _ in named), 0)
    lines = list[str]()
    for word, said in named:
        first, *more = wrapped([said], columns - indent) or [""]
        lines += [f"{word:{indent}}{first}", *(" " * indent + line for line in more)]
    return [escaped(line, lines=False) for line in lines]


def apart(left: str, right: str, columns: int) -> str:
    """Write two texts at both ends of a line; below each other where they do not fit."""
    between = columns - len(left) - len(right)
    return left if not right else f"{left}{' ' * between}{right}" if between > 1 else f"{left}\n{right.rjust(columns)}"


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


# From the longest to the shortest.
_STYLES = (Short(), Short(called=True), Short(called=True, brief=True))


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


def _stub(made: Table) -> int:
    """How many columns name the rows: the first, and others up to the first that holds a number or belongs to a group."""
    for at in range(1, len(made.head)):
        numbers = any(isinstance(row[at], int | Estimate | Finding | Sentence) for row in made.rows)
        if numbers or (made.groups and made.groups[at]):
            return at
    return 1


def _parts(columns: Sequence[Sequence[str]], groups: Sequence[str], stub: int, width: int) -> list[list[str]]:
    """Align columns below their titles, and these below the names of their groups, which stay together; in parts of a width."""
    named = aligned([*zip(*columns[:stub], strict=True)], whole=True)
    parts = [start := [" " * len(named[0]), *named]]
    for group, block in groupby(range(stub, len(columns)), lambda at: groups[at] if groups else at):
        mine, title = [columns[at] for at in block], str(group) if groups else ""
        inner = aligned([*zip(*mine, strict=True)], right=range(len(mine)), gap=" ", whole=True)
        wide = max(len(title), len(inner[0]))
        if parts[-1] is not start and len(parts[-1][0]) + 2 + wide > width:
            parts.append(start)
        texts = [title.ljust(wide), *(each.rjust(wide) for each in inner)]
        parts[-1] = [f"{line}  {text}" for line, text in zip(parts[-1], texts, strict=True)]
    return parts if groups else [part[1:] for part in parts]
