"""Units that rules requested while a run went on, and why, of rules whose results no other part of a report shows."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.reports.model import Sentence
from modbench.reports.tables.load import Loaded


def sentences(loaded: Loaded) -> Iterator[Sentence]:
    """Say what each group's rule decided, where it left no result of its own."""
    for group, decided in loaded.run.decisions.items():
        if decided.found is None:
            words = "{group}, decided by {rule}: {why}" + "; it has not ended" * (not decided.ended)
            yield Sentence(words, group=group, rule=decided.rule, why=decided.why)
