"""The machine, the protocol, and the command to repeat the run."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.panel import Panel
from modbench.reports.sentences.method import facts
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.html import inline
from modbench.reports.writers.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """Show a list of terms and facts."""
    return fill("machine", facts=[(term, inline(fact)) for term, fact in facts(loaded)])


READING = (
    "What the numbers were measured on and how: they hold for this machine, these versions and this method. The A/A "
    "check times two identical models against each other; differences as large as the ones it finds are noise."
)

PANEL = Panel(title="Machine and method", order=90, span=12, render=render, reading=READING)
