"""What is missing, and what may not mean what it seems to mean: failures with their reasons, and what checks found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from modbench.harness.core.frozen import Frozen
from modbench.harness.registry import catalogue
from modbench.reports.model import Block, Code, Listed, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables import unit_files
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.html import fill, inline
from modbench.reports.writers.number_format import grid_point

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


# Findings of one doubt, and cells of one finding, that are listed; the rest are counted.
MOST_FINDINGS = 4


@dataclass(frozen=True)
class Doubt:
    """A doubt that found something.

    Attributes:
        title: what the check looks for.
        findings: what was found, and in which cells.
        more: further findings, which are not listed.
        advice: what to do about it; words between backticks are code.
    """

    title: str
    findings: list[tuple[str, Listed]]
    more: int
    advice: str

    @property
    def steps(self) -> Listed:
        """The advice, with its code marked as such."""
        parts = self.advice.split("`")
        return Listed([Code(part) if at % 2 else part for at, part in enumerate(parts)], between="")


def doubts(loaded: Loaded) -> list[Doubt]:
    """Return each doubt that found something; labels first, since every output shows them."""
    found: dict[str, dict[str, list[str]]] = {}
    tables = loaded.tables
    for _, metric, case in tables.asked():
        for doubt, said in tables.doubts_about(case, metric).items():
            labelled = bool(tables.doubts[doubt].label)
            where = name(case) if labelled else f"{name(case)}, {metric.key} at {grid_point('T', case.place.seq_len)}"
            found.setdefault(doubt, {}).setdefault(said, []).append(where)
    titles = catalogue.entries("doubts")
    made = []
    for doubt in sorted(found, key=lambda doubt: (not tables.doubts[doubt].label, doubt)):
        if tables.doubts[doubt].label:
            findings = [_by_arm(found[doubt])]
        else:
            findings = [
                (said, Listed([*dict.fromkeys(where)], "; ", most=MOST_FINDINGS))
                for said, where in found[doubt].items()
            ]
        left_out = max(0, len(findings) - MOST_FINDINGS)
        made.append(Doubt(titles[doubt].about, findings[:MOST_FINDINGS], left_out, tables.doubts[doubt].advice))
    return made


def _by_arm(findings: dict[str, list[str]]) -> tuple[str, Listed]:
    """Return all arms with a label at once, with the first finding as the example."""
    example, (first, *_) = next(iter(findings.items()))
    return f"{example} ({first})", Listed([*dict.fromkeys(where for each in findings.values() for where in each)])


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
