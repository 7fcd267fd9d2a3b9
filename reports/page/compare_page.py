"""A comparison as one page that needs no network: the cases of a run along an axis, or runs side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from modbench.harness.core import printable
from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import refuse_inside, write_atomically
from modbench.harness.core.printable import escaped, masked
from modbench.reports.model import Block, Code, Estimate, Finding, Note, Sentence, Table, Value
from modbench.reports.questions import ab, compare_axis, compare_runs
from modbench.reports.questions.compare_axis import AlongAxis
from modbench.reports.questions.compare_runs import Compared, letter
from modbench.reports.questions.machine import machine_check, warnings
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal import compare
from modbench.reports.writers.html import fill, inline, written
from modbench.reports.writers.number_format import numeric, plain

# Rows of the page's table; the JSON has all.
MOST_ROWS = 2000


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    title: str
    blocks: Sequence[Block]

    @property
    def body(self) -> Markup:
        """The blocks as HTML."""
        return written(self.blocks) or Markup()


@dataclass(frozen=True)
class Page:
    """What the template shows.

    Attributes:
        title: of the page.
        meta: a line below it.
        command: the command line that makes it.
        badges: warnings beside the title.
        warnings: what must be read first.
        sections: the page's sections, before the large table.
        table: the large table, which can be sorted and filtered; None: there is none.
        after: sections below it.
        orientation: how to read its ratios; empty: it has none.
    """

    title: str
    meta: str
    command: str
    badges: Sequence[str] = ()
    warnings: Sequence[Markup] = ()
    sections: Sequence[Section] = ()
    table: Table | None = None
    after: Sequence[Section] = ()
    orientation: str = "Above 1 is better"

    @property
    def left_out(self) -> Markup:
        """How many rows the large table lacks."""
        return inline(self.table.left_out if self.table else 0)

    @property
    def head(self) -> list[tuple[Markup, str]]:
        """Titles of the large table's columns, and whether they hold numbers."""
        columns = enumerate(self.table.head if self.table else ())
        rows = self.table.rows if self.table else ()
        return [(inline(title), "number" * numeric(row[at] for row in rows)) for at, title in columns]

    @property
    def rows(self) -> list[list[tuple[Markup, object]]]:
        """Cells of the large table, each with what it is sorted by."""
        return [[(inline(cell), _key(cell)) for cell in row] for row in (self.table.rows if self.table else ())]


def _key(cell: Value) -> object:
    return cell.value if isinstance(cell, Estimate) and cell.value is not None else ""


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


def typed(command: Sequence[str]) -> str:
    """Return a command line as it is typed, without its secrets."""
    return shlex.join(printable.masked_command(list(command)))


def html(page: Page) -> str:
    """Return the page as HTML."""
    return masked(escaped(fill("compare", page=page)))


def of_runs(compared: Compared, command: Sequence[str]) -> Page:
    """Return the page of runs side by side."""
    names = [letter(number) for number in range(len(compared.runs))]
    about = [(name, Code(str(run.path)), compare.about(run)) for name, run in zip(names, compared.runs, strict=True)]
    lacks = [said for each in compared.against for said in compare_runs.reasons(each, compare.MOST_REASONS)]
    lacks += compare_runs.troubles(compared)
    warned = [(name, said) for name, run in zip(names, compared.runs, strict=True) for said in warnings(run)]
    return Page(
        f"{len(names)} runs side by side: {', '.join(run.path.name for run in compared.runs)}",
        f"{', '.join(names[1:])} against {names[0]} · {plain(compare_axis.margin(compared.margin))}",
        typed(command),
        [f"{name} is incomplete" for name, run in zip(names, compared.runs, strict=True) if run.run.incomplete],
        [inline(Sentence("{name}: {said}", name=name, said=said)) for name, said in warned],
        [
            Section("Runs", [Table("Runs", ("Run", "Folder", "What was run"), about)]),
            Section(
                "What differs",
                [compare_runs.differences_table(compared)] if compared.differences else [Note("nothing")],
            ),
            *(
                Section(f"{each.name} against {names[0]}", [compare_runs.summary(each), *map(Note, each.said)])
                for each in compared.against
            ),
        ],
        compare_runs.whole_table(compared, MOST_ROWS),
        [
            Section("Failed, damaged, missing", [*map(Note, lacks)] or [Note("nothing")]),
            Section("How to read this", [*map(Note, compare_runs.how_to_read(compared))]),
        ],
    )


def of_axis(loaded: Loaded, table: AlongAxis, command: Sequence[str]) -> Page:
    """Return the page of one run along an axis."""
    shown = [column.metric.key for column in table.shown()]
    columns = sorted(table.columns, key=lambda column: column.metric.key not in shown)
    notes: list[Value] = [
        *compare_axis.labels(table.columns),
        *table.notes,
        *compare_axis.missing(table.columns, compare.MOST_REASONS),
    ]
    notes += [machine_check(loaded)[1], compare_axis.margin(loaded.suite.margin)]
    return Page(
        f"{loaded.path.name} by {table.axis}",
        f"against {table.over} · {compare.about(loaded)}",
        typed(command),
        [
            *(["smoke run: no claims"] if not loaded.suite.claims else []),
            *(["incomplete"] if loaded.run.incomplete else []),
        ],
        [*map(inline, warnings(loaded))],
        [Section(each.label, [_with_values(each)]) for each in compare_axis.tables(loaded, table, columns)],
        after=[Section("How to read this", [*map(Note, notes)])],
    )


def of_ab(found: ab.Result, command: Sequence[str]) -> Page:
    """Return the page of two sides that took turns."""
    return Page(
        plain(ab.headline(found)),
        plain(Sentence("{new} against {base}", base=found.sides[0], new=found.sides[1])),
        typed(command),
        sections=[Section("Result", [*ab.details(found)])],
    )


def _with_values(table: Table) -> Table:
    """Return a table in which the values of cells stand in columns of their own, before what is found of them."""
    groups, head = [""], [table.head[0]]
    for title in table.head[1:]:
        groups += [str(title)] * 2
        head += ["value", "compared"]
    rows = [[row[0], *(part for cell in row[1:] for part in _parts(cell))] for row in table.rows]
    return replace(table, head=head, groups=groups if any(groups) else (), rows=rows)


def _parts(cell: Value) -> tuple[Value, Value]:
    """Return a cell's own value, and what is found of it against the baseline."""
    if not isinstance(cell, Finding):
        return cell, ""
    if cell.against is None:
        return cell.value or "", "baseline"
    # Labels of arms are named below; beside a number stand those of losses.
    found = (
        cell.beside() if cell.typical.kind == "difference" else replace(cell, value=None, labels=(), against_labels=())
    )
    return cell.value or "", found
