"""`modbench audit`: builds the models that are named, probes them one after the other, and says what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.extend import Overrides, UsageError, run_folder, slug, unknown, width, write_atomically
from modbench.plugins.audit import files, targets, terminal
from modbench.plugins.audit.process import audits
from modbench.plugins.audit.report import AuditReport


@dataclass(frozen=True)
class Request:
    """What shall be audited.

    Attributes:
        models: as they were named.
        flags: shape, options and capacity of all of them.
        of: what they are held to; None: to nothing.
        properties: to look at; none: all.
        formats: files beside audit.json.
        timeout_s: seconds that all may take; None: half an hour.
    """

    models: Sequence[str]
    flags: Overrides
    of: str | None = None
    properties: Sequence[str] = ()
    formats: Sequence[str] = ("html",)
    timeout_s: float | None = None


@dataclass(frozen=True)
class Audited:
    """What was found, and what was written into which folder."""

    cards: tuple[AuditReport, ...]
    command: tuple[str, ...]
    folder: Path
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """What audit.json holds."""
        return files.as_data(self.cards, self.command).model_dump(mode="json")

    def as_text(self) -> str:
        """The card, or the table of several, and the page."""
        return "\n".join([terminal.text(self.cards, width()), str(self.files[-1])])


def run(request: Request, out: str | None, command: Sequence[str]) -> Audited:
    """Audit models, and write what was found into a folder; without one into `runs/audit-MODEL-DATE-N`.

    Raises:
        UsageError: if something that was asked is impossible, or a model cannot be built or called.
    """
    held = targets.architecture(request.of)
    for each in request.formats:
        if each not in files.FORMATS:
            raise unknown("format of an audit", each, files.FORMATS)
    if len(set(request.models)) < len(request.models):
        raise UsageError("a model is named twice. Name each once, or give different options in parentheses.")
    cases = [targets.case_of_flags(name, request.flags) for name in request.models]
    was_there = out is not None and Path(out).exists()
    folder = run_folder.create_empty(out, f"audit-{slug(cases[0].short_model)}")
    try:
        cards = audits(cases, held, request.properties, request.timeout_s)
    except BaseException:  # an interrupt too
        if not was_there:
            run_folder.remove_empty(folder)
        raise
    made = files.files(cards, command, request.formats)
    for name, text in made.items():
        write_atomically(folder / name, text)
    return Audited(cards, tuple(command), folder, tuple(folder / name for name in made))


def exit_code(made: Sequence[AuditReport], asked: Sequence[str]) -> int:
    """1 where a verdict is no, else 5 where that of a property that was asked for by name is not observable, else 0."""
    if any(card.deviates for card in made):
        return 1
    return 5 if any(name in asked for card in made for name in card.named("not observable")) else 0
