"""The result of `modbench ab` in the terminal, and for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.stats import contrast
from modbench.reports.questions import ab
from modbench.reports.questions.ab import Result
from modbench.reports.writers import markdown, text
from modbench.reports.writers.number_format import plain


def as_text(found: Result, width: int, code: int) -> list[str]:
    """Return the verdict with the exit code, the table, and how sure it is."""
    head, table = text.apart(plain(ab.headline(found)), f"exit {code}" * bool(code), width), ab.table(found)
    return [head, "", *(text.table(table, width) if table.rows else ()), *text.labelled(ab.rows(found), width)]


def annotated(found: Result) -> Iterator[str]:
    """Yield annotations: errors for rows that fail, warnings for those that are inconclusive."""
    for word, kind in ((contrast.FAIL, "error"), (contrast.INCONCLUSIVE, "warning")):
        told = [
            (f"modbench ab: {word}: {plain(ab.named(row, found))}", plain(row.ratio if row.contrast else row.reason))
            for row in found.rows
            if (row.check or row.verdict) == word
        ]
        yield from markdown.first_annotations(kind, told)


def summary(found: Result, most: int = markdown.MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes; nothing where they do not hold even its first lines."""
    head = markdown.Block([f"## modbench ab: {found.verdict or 'compared'}"])
    made = [head, *map(markdown.block, [ab.headline(found), *ab.details(found)])]
    return markdown.within(made, most, lambda page: len(page.encode()))
