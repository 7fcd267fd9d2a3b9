"""What GitHub Actions reads: annotations; and how long the summary of a job may be, whose Markdown is in `markdown.py`.

Rules: github.com/actions/toolkit, `packages/core/src/command.ts` (how a command's text is escaped); docs.github.com, *Workflow
commands* (a summary holds at most 1 MiB per step; ten annotations of each kind are shown).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from modbench.harness.core.errors import brief
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped

# Where the runner reads the summary of a step.
VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_BYTES = 2**20
MOST_ANNOTATIONS = 10
# Characters of a title or a message.
MOST = 300


def annotation(kind: str, title: str, message: str) -> str:
    """Return the workflow command that shows an annotation: `::error title=…::…`.

    Args:
        kind: `error` or `warning`.
        title: its title.
        message: its text.
    """
    title, message = (brief(escaped(brief(masked(each), MOST)), MOST) for each in (title, message))
    for mark, name in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        title, message = title.replace(mark, name), message.replace(mark, name)
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{message}"


def first_annotations(kind: str, told: Sequence[tuple[str, str]], rest: str) -> Iterator[str]:
    """Yield an annotation for each title and message; of more than GitHub shows, the last says how many there are.

    Args:
        kind: `error` or `warning`.
        told: titles and messages, the most important first.
        rest: where the others can be read.
    """
    most = MOST_ANNOTATIONS if len(told) <= MOST_ANNOTATIONS else MOST_ANNOTATIONS - 1
    for title, message in told[:most]:
        yield annotation(kind, title, message)
    if len(told) > most:
        yield annotation(kind, f"and {len(told) - most:,} more", rest)


def room(file: Path) -> int:
    """Return how many bytes a step's summary still takes: what earlier commands of the step wrote counts."""
    try:
        return MOST_BYTES - file.stat().st_size
    except FileNotFoundError:
        return MOST_BYTES
