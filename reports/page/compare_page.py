"""A comparison as one page that needs no network: the cases of a run along an axis, or runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modbench.reports.model import Code, Listed, Note, Sentence, Table, Value
from modbench.reports.page.layout import Page, Section
from modbench.reports.questions import ab, compare_axis, compare_runs
from modbench.reports.questions.compare_axis import AlongAxis
from modbench.reports.questions.compare_runs import Compared, letter
from modbench.reports.questions.machine import machine_check, warnings
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal import compare

# Rows of the page's table; the JSON has all.
MOST_ROWS = 2000
# How to read its ratios, beside the title.
ABOVE = ("Above 1 is better",)


def of_runs(compared: Compared, command: Sequence[str]) -> Page:
    """Return the page of runs side by side."""
    names = [letter(number) for number in range(len(compared.runs))]
    named = [*zip(names, compared.runs, strict=True)]
    about = [(name, Code(str(run.path)), compare.about(run)) for name, run in named]
    lacks = [said for each in compared.against for said in compare_runs.reasons(each, compare.MOST_REASONS)]
    lacks += compare_runs.troubles(compared)
    every = compare_runs.whole_table(compared, MOST_ROWS)
    return Page(
        f"{len(names)} runs side by side: {', '.join(run.path.name for run in compared.runs)}",
        Sentence(
            "{others} against {first} · {margin}",
            others=Listed(names[1:]),
            first=names[0],
            margin=compare_axis.margin(compared.margin),
        ),
        command,
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
            Section(every.label, [replace(every, names=[*map(str, every.head)])]),
            Section("Failed, damaged, missing", [*map(Note, lacks)] or [Note("nothing")]),
            Section("How to read this", [*map(Note, compare_runs.how_to_read(compared))]),
        ],
        alarms=[f"{name} is incomplete" for name, run in named if run.run.incomplete],
        badges=ABOVE,
        warnings=[Sentence("{name}: {said}", name=name, said=said) for name, run in named for said in warnings(run)],
    )


def of_axis(loaded: Loaded, table: AlongAxis, command: Sequence[str]) -> Page:
    """Return the page of one run along an axis."""
    shown = [column.metric.key for column in table.shown()]
    columns = sorted(table.columns, key=lambda column: column.metric.key not in shown)
    notes: list[Value] = [
        *compare_axis.labels(table.columns),
        *table.notes,
        *compare_axis.missing(table.columns, compare.MOST_REASONS),
        machine_check(loaded)[1],
        compare_axis.margin(loaded.suite.margin),
    ]
    return Page(
        f"{loaded.path.name} by {table.axis}",
        f"against {table.over} · {compare.about(loaded)}",
        command,
        [
            *(Section(each.label, [each]) for each in compare_axis.tables(loaded, table, columns)),
            Section("How to read this", [*map(Note, notes)]),
        ],
        alarms=[
            *["smoke run: no claims"] * (not loaded.suite.claims),
            *["incomplete"] * bool(loaded.run.incomplete),
        ],
        badges=ABOVE,
        warnings=[*warnings(loaded)],
    )


def of_ab(found: ab.Result, command: Sequence[str]) -> Page:
    """Return the page of two sides that took turns."""
    base, new = found.sides
    sections = [Section("Result", [*ab.details(found)])]
    return Page(
        ab.headline(found), Sentence("{new} against {base}", base=base, new=new), command, sections, badges=ABOVE
    )
