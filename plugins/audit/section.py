"""What the audits of a run found of the user's models, as in the HTML file of `modbench audit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from modbench.extend import Block, Lead, Loaded, Section, html
from modbench.plugins.audit import question, terminal

CARD = Markup('<details class="card findings"><summary>{}</summary>\n{}\n</details>\n')


def render(loaded: Loaded) -> list[Block | Markup]:
    """Show the audit reports, folded; below them why other models have none."""
    folded = [
        CARD.format(html.inline(question.answer(card)), html.written(question.blocks(card)))
        for card in question.cards(loaded).values()
    ]
    return [*([Markup("").join(folded)] if folded else []), *question.failures(loaded)]


def in_full(loaded: Loaded, columns: int) -> Iterator[str]:
    """Yield the audit reports for the terminal."""
    for card in question.cards(loaded).values():
        yield terminal.card(card, columns)


def data(loaded: Loaded) -> dict[str, Any]:
    """Return the audits by variant, for programs."""
    return {"audits": {variant: each.model_dump(mode="json") for variant, each in terminal.by_variant(loaded).items()}}


READING = "What each model of yours really computes, as `modbench audit` sees it from its calls alone."

SECTION = Section(
    title="What do your models compute?",
    order=55,
    span=12,
    render=render,
    reading=READING,
    lead=Lead(warnings=question.failures, more=in_full, data=data),
)
