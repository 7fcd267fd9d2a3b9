"""Rows of text in aligned columns."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table

# No line is wrapped, whatever the terminal's width: output is the same in a pipe.
WIDTH = 10_000


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), gap: int = 2) -> list[str]:
    """Lines of plain text, without colours or markup.

    Args:
        rows: cells; all rows have the same number.
        right: indices of the columns that are aligned to the right.
        gap: spaces between columns.
    """
    table = Table.grid(padding=(0, gap, 0, 0))
    for column, _ in enumerate(rows[0]):
        table.add_column(justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    console = Console(
        file=text, width=WIDTH, height=len(rows), color_system=None, markup=False, emoji=False, highlight=False
    )
    console.print(table)
    return [line.rstrip() for line in text.getvalue().removesuffix("\n").split("\n")]


def elided(lines: Sequence[str], most: int, what: str) -> list[str]:
    """The first and the last lines, no more than `most`, with the number of those between."""
    if len(lines) <= most:
        return [*lines]
    first, last = most // 2, most - most // 2 - 1
    left_out = f"… {len(lines) - first - last:,} {what} between these: -v and --json have all"
    return [*lines[:first], left_out, *lines[len(lines) - last :]]
