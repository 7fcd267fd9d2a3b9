"""What is missing, and what may not mean what it seems to mean: failures with their reasons, and what checks found."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from modbench.harness.core.frozen import Frozen
from modbench.reports.model import Block, Code, Listed, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.questions.checks import doubts
from modbench.reports.tables import unit_files
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.html import fill, inline

# Failures, and missing units, that are listed; the rest are counted.
MOST_FAILURES = 200


class Failed(Frozen):
    """A failure.

    Attributes:
        case_id: the case.
        metrics: keys of the metrics without a value.
        reason: the reason, with the log that tells more.
    """

    case_id: str
    metrics: tuple[str, ...]
    reason: str


def failures(loaded: Loaded) -> list[Failed]:
    """Return a failure for each case and reason."""
    known = unit_files.logs(loaded.run)
    return [
        Failed(
            case_id=str(case),
            metrics=tuple(rows.metric),
            reason=f"{reason}{unit_files.beside(str(reason), known, str(case), rows.metric)}",
        )
        for (case, reason), rows in loaded.failed.groupby(["case_id", "reason"], sort=False)
    ]


def failure_sentences(loaded: Loaded, most: int = MOST_FAILURES) -> tuple[list[Sentence], int]:
    """Return a sentence for each failure and each missing unit, of many the first, and how many are left out."""
    found, missing = failures(loaded), loaded.run.missing
    said = [
        Sentence(
            "{case} ({metrics}): {reason}", case=Code(each.case_id), metrics=Listed(each.metrics), reason=each.reason
        )
        for each in found[:most]
    ]
    said += [Sentence("unit {unit} has no record: the run is incomplete", unit=Code(unit)) for unit in missing[:most]]
    return said, len(found) + len(missing) - len(said)


def what_failed(loaded: Loaded) -> Iterator[Block]:
    """Return a line for each; nothing where nothing failed and nothing is missing."""
    said, left_out = failure_sentences(loaded)
    yield from said
    if left_out:
        yield Note(Sentence("{n} more: {file} has the reason of each.", n=left_out, file=Code("cases.csv")))


FAILURES = Panel(
    title="What failed",
    order=35,
    span=12,
    render=what_failed,
    reading=(
        "Each line is a case that has no number, with the reason that its process gave and the log that tells "
        "more. A failed case is left out of every figure and marked in the tables; the others are not affected by "
        "it."
    ),
)
"""Which cells failed, and which units have no record?"""


def what_to_doubt(loaded: Loaded) -> Markup | None:
    """Show an entry for each doubt that found something."""
    found = doubts(loaded)
    return fill("doubts", doubts=found, inline=inline) if found else None


DOUBTS = Panel(
    title="What should you doubt?",
    order=36,
    span=12,
    render=what_to_doubt,
    reading=(
        "Each entry is a reason why some number may not mean what it seems to mean: what was found, in which "
        "cells, and below the arrow what to do about it. An entry does not say that a number is wrong. What no "
        "check looks for is not listed."
    ),
)
"""Why may a number not mean what it seems to mean: what checks found, in which cells, and what to do about it."""
