"""What GitHub Actions reads: annotations, and the Markdown of a job summary, in which a stranger's text is only text.

Rules: github.com/actions/toolkit, `packages/core/src/command.ts` (how a command's text is escaped); docs.github.com, *Workflow
commands* (a summary holds at most 1 MiB per step; ten annotations of each kind are shown).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from modbench.harness.core.errors import brief
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped

Made = TypeVar("Made")
# Where the runner reads the summary of a step.
VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_BYTES = 2**20
MOST_ANNOTATIONS = 10
MOST_ROWS = 200
# Characters of one cell: more would be read by nobody, and five such cells could fill a summary.
MOST_CELL = 300
# Kept for what follows a table: remarks on rows that were left out.
RESERVE = 4096

# What has a meaning inside a line of Markdown, GitHub's or HTML; written as references, these are text (CommonMark 2.5).
# `:` only before a word, where it makes an address or an emoji.
_MARKED = re.compile(r"[&<>\"`*_\[\]\\|~$!]|:(?=\S)|\.(?<=www\.)")
# Of these GitHub makes links to people and issues, also where they are references. A space of no width parts them from the name.
_LINKED = re.compile(r"@|(?<!&)#")


def markdown(text: str) -> str:
    """Return a text as one line of Markdown that shows exactly that text: no marks, HTML, links, mentions or new cells."""
    shown = brief(escaped(brief(masked(text), MOST_CELL), lines=False), MOST_CELL)
    shown = _MARKED.sub(lambda found: f"&#{ord(found[0])};", shown)
    return _LINKED.sub(lambda found: f"&#{ord(found[0])};&#8203;", shown)


def code(text: str) -> str:
    """Return a text as Markdown in the font of code."""
    return f"<code>{markdown(text)}</code>"


def annotation(kind: str, title: str, message: str) -> str:
    """Return the workflow command that shows an annotation: `::error title=…::…`.

    Args:
        kind: `error` or `warning`.
        title: its title.
        message: its text.
    """
    title, message = (brief(escaped(brief(masked(each), MOST_CELL)), MOST_CELL) for each in (title, message))
    for mark, name in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        title, message = title.replace(mark, name), message.replace(mark, name)
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{message}"


def first_annotations(kind: str, told: Sequence[tuple[str, str]], rest: str) -> Iterator[str]:
    """Yield an annotation for each title and message; of more than GitHub shows, the last says how many there are.

    Args:
        kind: `error` or `warning`.
        told: titles and messages, the most important first.
        rest: where the others can be read.
    """
    most = MOST_ANNOTATIONS if len(told) <= MOST_ANNOTATIONS else MOST_ANNOTATIONS - 1
    for title, message in told[:most]:
        yield annotation(kind, title, message)
    if len(told) > most:
        yield annotation(kind, f"and {len(told) - most:,} more", rest)


class Page:
    """Markdown of at most so many bytes; tables end where they no longer fit, and say so.

    Args:
        most: bytes that it may have.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._lines, self._bytes = most, list[str](), 0

    def __str__(self) -> str:
        """The Markdown."""
        return "".join(self._lines)

    def _fits(self, line: str, kept: int) -> bool:
        return self._bytes + len(line.encode()) + 1 + kept <= self._most

    def write(self, line: str = "") -> None:
        """Add a line, unless the page is full."""
        if self._fits(line, 0):
            self._lines.append(f"{line}\n")
            self._bytes += len(line.encode()) + 1

    def table(
        self, head: Sequence[str], rows: Sequence[Made], cells: Callable[[Made], Sequence[str]], rest: str
    ) -> None:
        """Add a table, unless it has no rows.

        Args:
            head: titles of the columns.
            rows: what the rows are about.
            cells: makes the Markdown of a row's cells.
            rest: where rows that are left out can be read.
        """
        shown = 0
        top = f"{_row(head)}\n{_row(['---'] * len(head))}"
        if rows and self._fits(top, RESERVE):
            self.write(top)
            for row in rows[:MOST_ROWS]:
                if not self._fits(line := _row(cells(row)), RESERVE):
                    break
                self.write(line)
                shown += 1
        if shown < len(rows):
            self.write()
            self.write(f"and {len(rows) - shown:,} more rows: {rest}")
        if rows:
            self.write()


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def room(file: Path) -> int:
    """Return how many bytes a step's summary still takes: what earlier commands of the step wrote counts."""
    try:
        return MOST_BYTES - file.stat().st_size
    except FileNotFoundError:
        return MOST_BYTES
