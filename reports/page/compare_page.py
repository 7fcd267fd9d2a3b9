"""A comparison as one page that needs no network: the cases of a run along an axis, or runs side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modbench.harness.core import masking
from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import write_atomically
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped
from modbench.harness.core.units import human, three_digits
from modbench.reports.questions.compare import axis_table, run_differences
from modbench.reports.questions.compare.axis_table import Column, Table
from modbench.reports.questions.compare.runs import VERDICTS, Compared, Row, letter
from modbench.reports.sentences.machine import warnings
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal import compare_axis_text, compare_runs_text
from modbench.reports.writers.templates import fill

# Rows of the page's table; the JSON has all.
MOST_ROWS = 2000


@dataclass(frozen=True)
class Grid:
    """A table of the page.

    Attributes:
        label: what it shows.
        head: titles of its columns.
        rows: its cells.
        numbers: columns that are aligned right.
    """

    label: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: heading.
        said: sentences.
        grids: tables.
        listed: lines of a list.
    """

    title: str
    said: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    listed: Sequence[str] = ()


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
        table: the large table, which can be sorted and filtered, with values to sort by; None: there is none.
        after: sections below it.
        left_out: rows that the large table lacks.
    """

    title: str
    meta: str
    command: str
    badges: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    table: tuple[Sequence[tuple[str, str]], Sequence[Sequence[tuple[str, object]]]] | None = None
    after: Sequence[Section] = field(default_factory=tuple)
    left_out: int = 0


def write(page: Page, file: str, *, force: bool, runs: Sequence[Loaded]) -> None:
    """Write a page.

    Args:
        page: the page.
        file: where.
        force: whether a file that exists is replaced.
        runs: the runs that were compared: nothing is written into their folders.

    Raises:
        UsageError: if the file exists, or lies in a run folder.
    """
    path = Path(file)
    if path.is_dir():
        raise UsageError(f"--html {file!r} is a folder: name a file.")
    if any(run.path.resolve() in path.resolve().parents for run in runs):
        raise UsageError(
            f"--html {file!r} lies in a run folder, into which a comparison writes nothing. Name another file."
        )
    if path.exists() and not force:
        raise UsageError(f"--html {file!r} exists; it is replaced only with --force. Name a new file.")
    write_atomically(path, html(page))


def html(page: Page) -> str:
    """Return the page as HTML."""
    return masked(escaped(fill("compare", page=page)))


def of_runs(compared: Compared, command: Sequence[str]) -> Page:
    """Return the page of runs side by side."""
    text = compare_runs_text
    names = [letter(number) for number in range(len(compared.runs))]
    rows = [(against.run, row) for against in compared.against for row in against.rows]
    rows.sort(key=lambda each: VERDICTS.index(each[1].verdict))  # what changed stands first
    several = len(compared.against) > 1
    head = [
        *([("Run", "")] if several else []),
        *(("Case", ""), ("Metric", ""), (names[0], "number"), (names[1] if not several else "Value", "number")),
        *(("Ratio", "number"), ("90 % interval", "number"), ("Mean ratio", "number"), ("Verdict", ""), ("Remark", "")),
    ]
    cells = [[*([(letter(run), "")] if several else []), *_cells(row)] for run, row in rows[:MOST_ROWS]]
    told = [Section(f"{letter(a.run)} against {names[0]}", [f"{text.summary(a)}.", *a.said]) for a in compared.against]
    about = [[name, str(run.path), text.about(run)] for name, run in zip(names, compared.runs, strict=True)]
    return Page(
        f"{len(names)} runs side by side: {', '.join(run.path.name for run in compared.runs)}",
        f"{', '.join(names[1:])} against {names[0]} · margin {compared.margin:.1%}",
        shlex.join(masking.command(list(command))),
        [f"⚠ {name} is incomplete" for name, run in zip(names, compared.runs, strict=True) if run.run.incomplete],
        [f"{name}: {said}" for name, run in zip(names, compared.runs, strict=True) for said in warnings(run)],
        [
            Section("Runs", grids=[Grid("Runs", ("Run", "Folder", "What was run"), about)]),
            _differences(compared, names),
            *told,
        ],
        (head, cells),
        [_failures(compared), Section("How to read this", list(text.notes(compared)))],
        max(0, len(rows) - MOST_ROWS),
    )


def _differences(compared: Compared, names: Sequence[str]) -> Section:
    same = run_differences.in_words(compared.differences, len(names))
    rows = [[each.section, each.what, *each.values] for each in compared.differences]
    grids = [Grid("What differs between the runs", ("Of", "What", *names), rows)] if rows else []
    return Section("What differs", [same] if same else [], grids)


def _failures(compared: Compared) -> Section:
    return Section(
        "Failed, damaged, missing", listed=list(compare_runs_text.failures_in_words(compared)) or ["nothing"]
    )


def _cells(row: Row) -> list[tuple[str, object]]:
    """Return the cells of a row of the large table, each with what it is sorted by."""
    ends = "" if row.low is None or row.high is None else f"{_ends(row.low)} to {_ends(row.high)}"
    change = "" if row.change is None else f"{row.change:+.3f}" if row.is_difference else f"{row.change:.3f}×"
    return [
        (row.case.id, ""),
        (row.metric.key, ""),
        (human(row.first, row.metric.unit), _key(row.first)),
        (human(row.value, row.metric.unit), _key(row.value)),
        (change, _key(row.change)),
        (ends, _key(row.low)),
        ("" if row.mean_change is None else f"{three_digits(row.mean_change)}×", _key(row.mean_change)),
        (compare_runs_text.verdict_words(row), ""),
        (row.reason or "", ""),
    ]


def _ends(value: float) -> str:
    return f"{value:.3f}"


def _key(value: float | None) -> object:
    return "" if value is None else value


def of_axis(loaded: Loaded, table: Table, command: Sequence[str]) -> Page:
    """Return the page of one run along an axis."""
    by_metric: dict[str, list[Column]] = {}
    for column in table.columns:
        by_metric.setdefault(column.metric.key, []).append(column)
    shown = [key for key in by_metric if by_metric[key] and by_metric[key][0] in table.shown()]
    sections = [_metric(table, by_metric[key]) for key in [*shown, *(key for key in by_metric if key not in shown)]]
    suite = loaded.run.plan.suite
    notes = [*compare_axis_text.legend(table.columns), *table.notes, *compare_axis_text.missing(table.columns)]
    notes += compare_axis_text.how_to_read(loaded)
    return Page(
        f"{loaded.path.name} by {table.axis}",
        f"against {table.baseline} · {compare_runs_text.about(loaded)}",
        shlex.join(masking.command(list(command))),
        [
            *(["⚠ smoke run: no claims"] if not suite.claims else []),
            *(["⚠ incomplete"] if loaded.run.incomplete else []),
        ],
        warnings(loaded),
        sections,
        after=[Section("How to read this", notes)],
    )


def _metric(table: Table, columns: Sequence[Column]) -> Section:
    """One metric: a row for each value of the axis, and for each column the comparison and the value."""
    heads = [axis_table.title(column)[1] or axis_table.title(column)[0] for column in columns]
    kind = "difference" if columns[0].metric.scored_as == "difference" else "ratio"
    head = [table.axis, *(text for each in heads for text in (f"{each}: {kind}", "value"))]
    rows = []
    for value in table.rows:
        cells = [compare_axis_text.texts(column, column.cells.get(value)) for column in columns]
        if any(map(any, cells)):
            texts = (text for ratio, word, number in cells for text in (f"{ratio} {word}".strip(), number))
            rows.append([axis_table.row_label(table, value), *texts])
    title = axis_table.title(columns[0])[0]
    return Section(title, grids=[Grid(f"{title} by {table.axis}", head, rows, range(1, len(head)))])
