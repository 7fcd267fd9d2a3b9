"""The files of an audit: audit.json, and the audit reports as a page, as Markdown or as a LaTeX table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Literal

from modbench.extend import (
    Frozen,
    Note,
    Table,
    __version__,
    layout,
    markdown,
    masked,
    masked_command,
    of_tables,
    plain,
)
from modbench.plugins.audit import question
from modbench.plugins.audit.report import AuditReport
from modbench.plugins.audit.terminal import AuditedModel, as_model

JSON = "audit.json"


class Audit(Frozen):
    """What `modbench audit` found.

    Attributes:
        schema_version: of this file.
        modbench: the version that made it.
        command: the command line.
        models: one card for each model that was named.
    """

    schema_version: Literal[1]
    modbench: str
    command: tuple[str, ...]
    models: tuple[AuditedModel, ...]


def as_data(cards: Sequence[AuditReport], command: Sequence[str]) -> Audit:
    """Return what audit.json holds."""
    shown = tuple(masked_command(list(command)))
    return Audit(schema_version=1, modbench=__version__, command=shown, models=tuple(map(as_model, cards)))


def as_json(made: Audit) -> str:
    """Return the text of audit.json."""
    return masked(json.dumps(made.model_dump(mode="json"), indent=1))


def _tables(cards: Sequence[AuditReport]) -> list[Table]:
    return [question.side_by_side(cards)] if len(cards) > 1 else [question.table(cards[0])]


def _html(cards: Sequence[AuditReport], command: Sequence[str]) -> str:
    sections = [layout.PageSection(plain(question.answer(card)), question.blocks(card)) for card in cards]
    if len(cards) > 1:
        sections = [layout.PageSection("Side by side", _tables(cards)), *sections]
    title = f"Audit of {', '.join(card.target for card in cards)}"
    return layout.html(layout.Page(title, f"modbench {__version__}", command, sections))


def _markdown(cards: Sequence[AuditReport], command: Sequence[str]) -> str:
    blocks = [markdown.Block([f"<!-- {layout.typed(command)} -->"])]
    blocks += [markdown.block(each) for card in cards for each in (question.answer(card), Note(question.called(card)))]
    return markdown.within([*blocks, *map(markdown.block, _tables(cards))])


def _latex(cards: Sequence[AuditReport], command: Sequence[str]) -> str:
    return of_tables()["tex"](_tables(cards), layout.typed(command), ())


# What writes a file of an audit.
Writer = Callable[[Sequence[AuditReport], Sequence[str]], str]


def formats() -> dict[str, tuple[str, Writer]]:
    """What `--format` names, and the file that it writes."""
    tex = {"tex": ("audit.tex", _latex)} if "tex" in of_tables() else {}
    return {"html": ("audit.html", _html), "md": ("audit.md", _markdown), **tex}


def files(cards: Sequence[AuditReport], command: Sequence[str], named: Sequence[str]) -> dict[str, str]:
    """Return the files of an audit by name."""
    known = formats()
    return {JSON: as_json(as_data(cards, command))} | {known[each][0]: known[each][1](cards, command) for each in named}
