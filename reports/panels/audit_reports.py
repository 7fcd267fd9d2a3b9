"""What the audits of a run found of the user's models, as on the page of `modbench audit`."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.model import Block
from modbench.reports.panel import Panel
from modbench.reports.questions import audit
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.html import fill, inline, written


def render(loaded: Loaded) -> list[Block | Markup]:
    """Show the audit reports, folded; below them why other models have none."""
    cards = [
        {"answer": inline(audit.answer(card)), "found": written(audit.blocks(card))}
        for card in audit.cards(loaded).values()
    ]
    return [*([fill("audit_reports", cards=cards)] if cards else []), *audit.failures(loaded)]


READING = "What each model of yours really computes, as `modbench audit` sees it from its calls alone."

PANEL = Panel(title="What do your models compute?", order=55, span=12, render=render, reading=READING)
