"""The result of `modbench ab` in the terminal, and for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.extend import markdown, plain, text_writer, verdicts
from modbench.plugins.ab import question
from modbench.plugins.ab.question import Result


def as_text(found: Result, width: int, code: int) -> list[str]:
    """Return the verdict with the exit code, the table, and how sure it is."""
    head, table = (
        text_writer.apart(plain(question.headline(found)), f"exit {code}" * bool(code), width),
        question.table(found),
    )
    return [
        head,
        "",
        *(text_writer.table(table, width) if table.rows else ()),
        *text_writer.labelled(question.rows(found), width),
    ]


def annotated(found: Result) -> Iterator[str]:
    """Yield annotations: errors for rows that fail, warnings for those that are inconclusive."""
    for word, kind in ((verdicts.FAIL, "error"), (verdicts.INCONCLUSIVE, "warning")):
        told = [
            (
                f"modbench ab: {word}: {plain(question.named(row, found))}",
                plain(row.ratio if row.contrast else row.reason),
            )
            for row in found.rows
            if (row.check or row.verdict) == word
        ]
        yield from markdown.first_annotations(kind, told)


def summary(found: Result, most: int = markdown.MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes; nothing where they do not hold even its first lines."""
    head = markdown.Block([f"## modbench ab: {found.verdict or 'compared'}"])
    made = [head, *map(markdown.block, [question.headline(found), *question.details(found)])]
    return markdown.within(made, most, lambda page: len(page.encode()))
