"""Cards in the terminal: the answer first, then a line for each property; several models as one table."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.harness.audit.card import Card
from modbench.harness.core.printable import aligned
from modbench.reports.model import Block, Note
from modbench.reports.questions import audit
from modbench.reports.tables.audits import sentence
from modbench.reports.writers.text import wrapped, written


def card(made: Card, columns: int) -> str:
    """Return one card, of at most 30 lines of 80 columns."""
    rows = [(audit.MARKS[found.verdict], made.titles[name], "") for name, found in made.findings.items()]
    lines = wrapped([audit.answer(made)], columns) + wrapped([audit.called(made)], columns) + [""]
    for start, found in zip(aligned(rows), made.findings.values(), strict=True):
        indent = max(len(line) for line in aligned(rows)) + 2
        said = wrapped([sentence(found)], columns - indent)
        lines += [f"{start:{indent}}{said[0]}", *(" " * indent + line for line in said[1:])]
    return "\n".join([*lines, "", audit.LEGEND])


def table(cards: Sequence[Card], columns: int) -> str:
    """Return several models as one table."""
    side = audit.side_by_side(cards)
    blocks: list[Block] = [side, *map(Note, side.notes)]
    return "\n".join(
        [*(line for each in cards for line in wrapped([audit.answer(each)], columns)), written(blocks, columns)]
    )


def text(cards: Sequence[Card], columns: int) -> str:
    """Return the card of one model, or the table of several."""
    return card(cards[0], columns) if len(cards) == 1 else table(cards, columns)
