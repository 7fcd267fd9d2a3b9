"""Audits models in a process of its own: one that ends its process, or hangs, ends the audit with a line."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modbench.extend import Case, UsageError, answering, answers, call_on_cases, given_cases, human_duration
from modbench.plugins.audit.report import Architecture, AuditReport

# Seconds after which an audit is ended: a card of the default shape takes some.
LIMIT_S = 1800.0
# Characters of a log's last line in a message.
MOST_SAID = 200


def audits(
    cases: Sequence[Case], of: Architecture | None, only: Sequence[str] = (), limit_s: float | None = None
) -> tuple[AuditReport, ...]:
    """The card of each case. All are built before the first is called.

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
