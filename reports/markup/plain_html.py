"""Results as HTML tables without style sheets, for notebooks, and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import escaped


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are aligned to the right."""
    body = "".join(_row("td", row) for row in rows)
    return f"<table><thead>{_row('th', head)}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    sides = ("right" if at else "left" for at, _ in enumerate(cells))
    made = (f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for side, cell in zip(sides, cells, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def html_lines(lines: Iterable[str]) -> str:
    """Sentences, one below the other."""
    return "".join(f"<div>{escape(line)}</div>" for line in lines)


def html(*parts: str) -> str:
    """The parts as one element, without control characters and secrets."""
    return f"<div>{masked(escaped(''.join(parts)))}</div>"


def text(lines: Iterable[str]) -> str:
    """Lines as one text that is safe to print."""
    return masked(escaped("\n".join(lines)))
