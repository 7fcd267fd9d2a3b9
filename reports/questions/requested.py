"""Units that rules requested while a run went on, and why, where no other part of a report shows it."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.reports.model import Sentence
from modbench.reports.tables.load import Loaded

# Rules whose results have parts of their own.
SHOWN = {"launch_count", "bisection", "confirmation"}


def sentences(loaded: Loaded) -> Iterator[Sentence]:
    """Say what other rules decided about each group."""
    for group, decided in loaded.run.decisions.items():
        if decided.rule not in SHOWN:
            words = "{group}, decided by {rule}: {why}" + "; it has not ended" * (not decided.ended)
            yield Sentence(words, group=group, rule=decided.rule, why=decided.why)
