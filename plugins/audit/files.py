"""The files of an audit: audit.json, and the cards as a page, as Markdown or as a LaTeX table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from modbench.extend import (
    Frozen,
    Note,
    Table,
    __version__,
    latex,
    layout,
    markdown,
    masked,
    masked_command,
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
    head = f"% {latex.text(layout.typed(command))}\n% In the preamble: \\usepackage{{booktabs}}\n"
    return masked(head + "".join(latex.table(each, "modbench-audit") for each in _tables(cards)))


# What `--format` names, and the file that it writes.
FORMATS: Mapping[str, tuple[str, Callable[[Sequence[AuditReport], Sequence[str]], str]]] = MappingProxyType(
    {"html": ("audit.html", _html), "md": ("audit.md", _markdown), "tex": ("audit.tex", _latex)}
)


def files(cards: Sequence[AuditReport], command: Sequence[str], formats: Sequence[str]) -> dict[str, str]:
    """Return the files of an audit by name."""
    made = {JSON: as_json(as_data(cards, command))}
    return made | {FORMATS[each][0]: FORMATS[each][1](cards, command) for each in formats}
