"""A page that needs no network: a head, what must be read first, and sections. The report, comparisons and audits are pages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from modbench.harness.core.atomic_files import refuse_inside, write_atomically
from modbench.harness.core.errors import UsageError
from modbench.harness.core.masking import masked, masked_command
from modbench.harness.core.plain_text import escaped
from modbench.reports.blocks import Block, Value
from modbench.reports.markup.html import fill, inline, written
from modbench.reports.tables.load import Loaded

# Colours of both themes, by the names that figures use.
THEME = Path(__file__).with_name("theme.css")


@dataclass(frozen=True)
class PageSection:
    """A section of a page.

    Attributes:
        title: heading.
        blocks: what it shows.
        span: width on a wide screen, in twelfths.
        folded: whether it is collapsed at first.
        printed: whether it stands on paper.
        reading: how to read it.
        lead: whether it is the answer, which stands out.
    """

    title: str
    blocks: Sequence[Block | Markup]
    span: int = 12
    folded: bool = False
    printed: bool = True
    reading: str = ""
    lead: bool = False


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: of the HTML page.
        meta: a line below it.
        command: the command line that makes it.
        sections: its sections.
        asked: what was asked, a line below the title.
        alarms: warnings beside the title.
        badges: what else stands beside the title.
        warnings: what must be read first.
    """

    title: Value
    meta: Value
    command: Sequence[str]
    sections: Sequence[PageSection]
    asked: Value = ""
    alarms: Sequence[Value] = ()
    badges: Sequence[Value] = ()
    warnings: Sequence[Value] = ()


def typed(command: Sequence[str]) -> str:
    """Return a command line as it is typed, without its secrets."""
    return shlex.join(masked_command(list(command)))


def html(page: Page) -> str:
    """Return the HTML."""
    sections = [(each, written(each.blocks) or "") for each in page.sections]
    return masked(escaped(fill("page", page=page, command=typed(page.command), sections=sections, inline=inline)))


def write(page: Page, file: str, *, force: bool, compared: Sequence[Loaded]) -> None:
    """Write a page; into the folders of the runs that were compared nothing is written.

    Raises:
        UsageError: if the file exists, or lies in a run folder.
    """
    path = Path(file)
    if path.is_dir():
        raise UsageError(f"--html {file!r} is a folder: name a file.")
    for run in compared:
        refuse_inside(run.path, path, asked=f"--html {file!r}")
    if path.exists() and not force:
        raise UsageError(f"--html {file!r} exists; it is replaced only with --force. Name a new file.")
    write_atomically(path, html(page))
