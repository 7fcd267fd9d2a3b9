"""Tables of plain text, aligned, and paragraphs: what a terminal shows."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

# Wider text is hard to read.
WIDEST = 120


def width() -> int:
    """The width of the terminal in characters; 80 where there is none."""
    return min(WIDEST, shutil.get_terminal_size().columns)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the first column left and the others right.

    Not with rich: it strips a right-aligned cell, and the blank that replaces a mark keeps numbers aligned.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def wrapped(sentences: Iterable[str], columns: int, indent: str = "") -> list[str]:
    """Wrap each sentence to the width; a path or an id stays whole. Further lines of a sentence begin with the indent."""
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(
            sentence, columns, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        )
    ]


def joined(parts: Iterable[str], columns: int) -> list[str]:
    """Join short parts to lines of at most this width; none is divided."""
    lines = list[str]()
    for part in parts:
        if lines and len(f"{lines[-1]} · {part}") <= columns:
            lines[-1] += f" · {part}"
        else:
            lines += wrapped([part], columns)
    return lines


def paired(cells: Sequence[tuple[str, str]]) -> list[str]:
    """Align the cells of a column that hold a value and what stands behind it, such as a ratio."""
    first, second = (max((len(cell[i]) for cell in cells), default=0) for i in (0, 1))
    return [f"{value.rjust(first)}{f' {more.rjust(second)}' if second else ''}" for value, more in cells]
