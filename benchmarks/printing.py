"""Prints a Markdown table row by row: what a script of this folder shows is ready for its page."""

from __future__ import annotations


def head(*cells: object) -> None:
    """The first two lines."""
    row(*cells)
    row(*["---"] * len(cells))


def row(*cells: object) -> None:
    """One line, at once: a table may take minutes."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
