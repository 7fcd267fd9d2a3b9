"""What is missing, and what may not mean what it seems to mean: failures with their reasons, and what checks found."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.group_by import grouped
from modbench.harness.core.immutable import Frozen
from modbench.reports.blocks import Block, Code, Listed, Note, Sentence
from modbench.reports.questions.found_warnings import doubts
from modbench.reports.section import Section
from modbench.reports.tables import job_files
from modbench.reports.tables.load import Loaded

# Failures that are listed, and units without a record that are named; the rest are counted.
MOST_FAILURES = 24


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
    logs, made = job_files.logs(loaded.run), list[Failed]()
    for (case, reason), rows in loaded.failed.groupby(["case_id", "reason"], sort=False):
        log = next(filter(None, (logs.get((str(case), metric)) for metric in rows.metric)), None)
        more = f"{job_files.SEE}{log}" if log and "logs/" not in str(reason) else ""
        made.append(Failed(case_id=str(case), metrics=tuple(rows.metric), reason=f"{reason}{more}"))
    return made


def failure_sentences(loaded: Loaded) -> list[Sentence]:
    """Return a sentence for each reason, with the first case that failed for it; then the jobs without a record."""
    alike = grouped(((each.reason.partition(job_files.SEE)[0], each.metrics), each) for each in failures(loaded))
    said = [
        Sentence(
            "{case}" + " and {more} more" * (len(those) > 1) + ": {reason} ({metrics})",
            case=Code(those[0].case_id),
            more=len(those) - 1,
            reason=those[0].reason,
            metrics=Listed(metrics),
        )
        for (_, metrics), those in alike.items()
    ]
    if missing := loaded.run.missing:
        words = "{n:job has|jobs have} no record, the run is incomplete: {units}"
        units = Listed([*map(Code, missing)], most=MOST_FAILURES)
        said.append(Sentence(words, n=len(missing), units=units))
    return said


def what_failed(loaded: Loaded) -> Iterator[Block]:
    """Return a line for each; nothing where nothing failed and nothing is missing."""
    said = failure_sentences(loaded)
    yield from said[:MOST_FAILURES]
    if (left := len(said) - MOST_FAILURES) > 0:
        yield Note(Sentence("{n} more: {file} has the reason of each.", n=left, file=Code("cases.csv")))


FAILURES = Section(
    title="Warnings",
    order=60,
    span=12,
    render=what_failed,
    reading="A case that failed is left out of figures and marked in tables; the others are not affected by it.",
)
"""Which cells failed, and which jobs have no record?"""

DOUBTS = Section(
    title="Warnings",
    order=61,
    span=12,
    render=lambda loaded: [each.sentence for each in doubts(loaded)],
    reading="Each says why a number may not mean what it seems to mean; what no check looks for is not listed.",
)
"""What validity checks found, in which cells, and what to do about it."""
