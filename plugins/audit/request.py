"""`modbench audit`: builds the models that are named, probes them one after the other, and says what was found."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.extend import (
    Case,
    Overrides,
    UsageError,
    answering,
    answers,
    call_on_cases,
    given_cases,
    human_duration,
    run_folder,
    slug,
    unknown,
    width,
    write_atomically,
)
from modbench.plugins.audit import files, targets, terminal
from modbench.plugins.audit.report import Architecture, AuditReport

# Seconds after which an audit is ended: a card of the default shape takes some.
LIMIT_S = 1800.0
# Characters of a log's last line in a message.
MOST_SAID = 200


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
        """The audit report, or the table of several, and the HTML file."""
        return "\n".join([terminal.text(self.cards, width()), str(self.files[-1])])


def run(request: Request, out: str | None, command: Sequence[str]) -> Audited:
    """Audit models, and write what was found into a folder; without one into `runs/audit-MODEL-DATE-N`.

    Raises:
        UsageError: if something that was asked is impossible, or a model cannot be built or called.
    """
    held = targets.architecture(request.of)
    for each in request.formats:
        if each not in files.formats():
            raise unknown("format of an audit", each, files.formats())
    if len(set(request.models)) < len(request.models):
        raise UsageError("a model is named twice. Name each once, or give different options in parentheses.")
    cases = [targets.case_of_flags(name, request.flags) for name in request.models]
    was_there = out is not None and Path(out).exists()
    folder = _new_folder(out, f"audit-{slug(cases[0].short_model)}")
    try:
        cards = audits(cases, held, request.properties, request.timeout_s)
    except BaseException:  # an interrupt too
        if not was_there:
            _remove(folder)
        raise
    made = files.files(cards, command, request.formats)
    for name, text in made.items():
        write_atomically(folder / name, text)
    return Audited(cards, tuple(command), folder, tuple(folder / name for name in made))


def _new_folder(out: str | None, name: str) -> Path:
    """Make a fresh folder: `out`, or `runs/<name>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written, or is not empty.
    """
    made = run_folder.create(out, name)
    for of_runs in (made.jobs, made.logs):
        of_runs.rmdir()
    return made.path


def _remove(folder: Path) -> None:
    """Remove a folder that was made for nothing, and `runs` if it holds nothing else."""
    for each in (folder, folder.parent) if folder.parent.name == "runs" else (folder,):
        with contextlib.suppress(OSError):
            each.rmdir()


def exit_code(made: Sequence[AuditReport], asked: Sequence[str]) -> int:
    """1 where a verdict is no, else 5 where that of a property that was asked for by name is not observable, else 0."""
    if any(card.deviates for card in made):
        return 1
    return 5 if any(name in asked for card in made for name in card.named("not observable")) else 0


def audits(
    cases: Sequence[Case], of: Architecture | None, only: Sequence[str] = (), limit_s: float | None = None
) -> tuple[AuditReport, ...]:
    """The audit report of each case. All are built before the first is called.

    Args:
        cases: the models.
        of: what they are held to; None: to nothing.
        only: properties to look at; none: all.
        limit_s: seconds that all may take; None: half an hour.

    Raises:
        UsageError: if a property is unknown, or a model cannot be built or called, ends its process, or takes too long.
    """
    limit_s = LIMIT_S if limit_s is None else limit_s
    with tempfile.TemporaryDirectory(prefix="modbench-audit-") as name:
        folder = Path(name)
        ended = call_on_cases(child, cases, folder, limit_s, threads=None, of=of, only=tuple(only))
        found = answers(folder)
    cards = tuple(AuditReport.model_validate(each["card"]) for each in found if "card" in each)
    if len(cards) == len(cases):
        return cards
    last: dict[str, Any] = found[-1] if found else {}
    if "error" in last:
        raise UsageError(last["error"])
    who = f"model {cases[last.get('model', 0)].model!r}"
    where = f" at {last['probe']!r}" if "probe" in last else ""
    if ended is None:
        more = human_duration(2 * limit_s).replace(" ", "")
        raise UsageError(
            f"{who} was not audited within {human_duration(limit_s)}: it was ended{where}. --timeout {more} gives it more."
        )
    raise UsageError(f"{who} cannot be audited: it ended its process{where} ({ended[:MOST_SAID]}).")


def child(folder: str, of: Architecture | None, only: tuple[str, ...]) -> None:
    """Audit models in this process, and write what is done before it is done.

    Args:
        folder: has the file of what is asked, and gets that of the answers.
        of: what they are held to; None: to nothing.
        only: properties to look at; none: all.
    """
    from modbench.plugins.audit.probing import audit, built, probes

    with answering(folder) as say:
        try:
            probes(of, only)  # refuses an unknown property before anything is built
            models = []
            for at, case in enumerate(given_cases(folder)):
                say({"model": at})
                models.append(built(case, of))
            for at, model in enumerate(models):
                card = audit(model, only=only, say=lambda title, at=at: say({"model": at, "probe": title}))  # type: ignore[misc]  # bound
                say({"card": card.model_dump(mode="json")})
        except UsageError as error:
            say({"error": str(error)})
