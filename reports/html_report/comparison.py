"""A comparison as one page that needs no network: the cases of a run along an axis, or runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.reports.blocks import Listed, Note, Sentence
from modbench.reports.html_report.layout import Page, PageSection
from modbench.reports.questions import compare_axis, compare_runs
from modbench.reports.questions.compare_axis import AlongAxis
from modbench.reports.questions.compare_runs import Compared, letter
from modbench.reports.questions.machine_check import machine_check, warnings
from modbench.reports.tables.load import Loaded

# Remarks of a page; the JSON has all.
MOST_REMARKS = 20


def of_runs(compared: Compared, command: Sequence[str]) -> Page:
    """Return the HTML page of runs side by side."""
    named = [(letter(number), run) for number, run in enumerate(compared.runs)]
    return Page(
        Listed([run.path.name for run in compared.runs], " and "),
        Sentence("{n} runs, each over {first}", n=len(named), first=letter(0)),
        command,
        [PageSection(title, blocks) for title, blocks in compare_runs.sections(compared, every=True)],
        alarms=[f"{name} is incomplete: {run.run.incomplete}" for name, run in named if run.run.incomplete],
        warnings=[Sentence("{name}: {said}", name=name, said=said) for name, run in named for said in warnings(run)],
    )


def of_axis(loaded: Loaded, along: AlongAxis, command: Sequence[str]) -> Page:
    """Return the HTML page of one run along an axis."""
    made = compare_axis.tables(loaded, along, every=True)
    notes = [machine_check(loaded)[1], *compare_axis.remarks(along, MOST_REMARKS)]
    alarms = {"smoke run: no claims": not loaded.suite.claims, "incomplete": loaded.run.incomplete}
    return Page(
        f"{loaded.path.name} by {along.axis}",
        Sentence("over {baseline} · {about}", baseline=along.baseline, about=compare_runs.about(loaded)),
        command,
        [*(PageSection(each.label, [each]) for each in made), PageSection("How to read this", [*map(Note, notes)])],
        alarms=[said for said, holds in alarms.items() if holds],
        warnings=[*warnings(loaded)],
    )
