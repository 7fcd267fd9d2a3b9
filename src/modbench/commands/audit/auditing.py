"""`modbench audit`: builds the models that are named, probes them one after the other, and says what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modbench.commands.audit import targets
from modbench.harness.audit.auditing import audit, probes
from modbench.harness.audit.card import Card
from modbench.harness.planning.overrides import Overrides
from modbench.reports.questions.audit import sentence
from modbench.reports.terminal import audit as terminal
from modbench.reports.writers.number_format import plain
from modbench.reports.writers.text import width


def cards(named: Sequence[str], flags: Overrides, *, of: str | None, only: Sequence[str]) -> list[Card]:
    """The card of each model.

    Args:
        named: the models.
        flags: shape, options and capacity of all of them.
        of: what they are held to.
        only: properties to look at; none: all.

    Raises:
        UsageError: if something that was asked is impossible, or a model cannot be built or called.
    """
    held = targets.architecture(of)
    probes(held, only)  # refuses an unknown property before anything is built
    cases = [targets.case_of_flags(name, flags) for name in named]
    return [audit(targets.built(case, held), only=only) for case in cases]


def exit_code(made: Sequence[Card], asked: Sequence[str]) -> int:
    """1 where a property deviates, else 5 where one that was asked for by name cannot be seen, else 0."""
    if any(card.deviates for card in made):
        return 1
    return 5 if any(name in asked for card in made for name in card.named("cannot be seen")) else 0


def as_json(made: Sequence[Card]) -> list[dict[str, Any]]:
    """One object for each model: the card, and each finding also as a sentence."""
    found = []
    for card in made:
        body = card.model_dump(mode="json")
        for name, each in card.findings.items():
            body["findings"][name] |= {"said": plain(sentence(each)), "value": each.value}
        found.append(body)
    return found


def as_text(made: Sequence[Card]) -> str:
    """The card, or the table of several."""
    return terminal.text(made, width())
