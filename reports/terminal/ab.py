"""The result of `modbench ab` for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.stats import contrast
from modbench.reports.questions import ab
from modbench.reports.questions.ab import Result
from modbench.reports.writers import markdown
from modbench.reports.writers.number_format import plain


def annotated(found: Result) -> Iterator[str]:
    """Yield annotations: errors for rows that fail, warnings for those that are inconclusive."""
    for word, kind in ((contrast.FAIL, "error"), (contrast.INCONCLUSIVE, "warning")):
        rows = [row for row in found.rows if (row.check or row.verdict) == word]
        told = [
            (
                f"modbench ab: {word}: {plain(ab.named(row, found))}",
                plain(row.reason if row.contrast is None else row.ratio),
            )
            for row in rows
        ]
        yield from markdown.first_annotations(kind, told, "the job summary lists them")


def summary(found: Result, most: int = markdown.MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes; nothing where they do not hold even its first lines."""
    made = [markdown.Block([f"## modbench ab: {found.verdict or 'compared'}"]), *map(markdown.block, ab.blocks(found))]
    return markdown.within(made, most, lambda page: len(page.encode()))
