"""Markdown for a pull request, report.md: the answer, tables, losses, failures, doubts, the method; under 65,536 characters."""

from __future__ import annotations

import shlex

import pandas as pd

from modbench.harness.core.masking import masked
from modbench.harness.core.units import human
from modbench.reports.format import Format
from modbench.reports.formats import _grids
from modbench.reports.panels.doubts import entries
from modbench.reports.panels.failures import failed
from modbench.reports.panels.machine import facts
from modbench.reports.questions import components
from modbench.reports.sentences import first_screen, question
from modbench.reports.sentences.evidence import seeds_in_words
from modbench.reports.sentences.machine import machine_check, warnings
from modbench.reports.sentences.question import place_shown
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import is_number, times, words
from modbench.reports.writers.markdown import Block, code, table, text, within

NAME = "report.md"
MOST_LISTED = 24
# Facts about the machine and the method that a reader of a pull request needs.
_FACTS = ("Processor", "GPU", "Packages", "modbench commit", "Protocol", "Number of launches", "Interval", "Threads")


def markdown(loaded: Loaded) -> str:
    """Return the report as Markdown."""
    run, suite = loaded.run, loaded.run.plan.suite
    version = run.environment["packages"]["modbench"]
    about = f"{run.started[:10]} · suite {suite.name} · {suite.effort}: {suite.launches_in_words} · modbench {version}"
    blocks = [Block([f"## {text(question.title(loaded))}", "", text(about)])]
    blocks += [Block([f"> **Warning:** {text(said)}"]) for said in warnings(loaded)]
    if run.incomplete:
        blocks.append(Block([f"> **Warning:** {text(run.incomplete)}"]))
    # What figures and tiles leave out is not left out here.
    told = first_screen.head(loaded)
    answers = [sentence for sentence in (told.answer, *told.details) if sentence and sentence != place_shown(loaded)]
    said = [f"- {text(sentence, 1200)}" for sentence in answers]
    blocks.append(Block([f"Asked: {text(told.asked, 1200)}"]))
    blocks.append(Block(["### Answer", ""], said, "sentences", "report.html") if said else Block())
    for title, sentences in (("How sure", told.sure), ("What to doubt", told.doubts)):
        blocks.append(Block([f"**{title}:** {text(' '.join(sentences), 1200)}"]) if sentences else Block())
    for grid in _grids.grids(loaded):
        blocks += _grid(grid)
    blocks += [*_losses(loaded), *_components(loaded), *_failed(loaded), *_doubts(loaded), *_method(loaded)]
    return masked(within(blocks))


def _grid(grid: _grids.Grid) -> list[Block]:
    head = [f"against {text(name(grid.baseline))}", *(f"{grid.axis} = {value:,}" for value in grid.columns)]
    first = [text(name(grid.baseline)), *(text(human(value, grid.unit)) for value in grid.of_baseline)]
    rows = [[text(name(case)), *(_cell(cell) for cell in cells)] for case, cells in grid.rows]
    title = Block([f"### {grid.title} ({text(grid.where)})"])
    note = "Ratios: above 1× is better."
    if grid.is_time:
        note += " [95 % interval over launches]."
    return [
        title,
        table(head, [first, *rows], what="arms", where="comparisons.csv", left_out=grid.left_out),
        Block([f"<sub>{note}</sub>"]),
    ]


def _cell(row: pd.Series | None) -> str:
    if row is None:
        return ""
    if row.status != "ok" or not is_number(row.ratio):
        return str(row.status) if row.status != "ok" else "–"
    said = f"{times(row.ratio)}"
    if is_number(row.ci_low):
        said += f" [{row.ci_low:.2f}–{row.ci_high:.2f}]"
    return f"{said} {words(row)}" if isinstance(row.verdict, str) else said


def _losses(loaded: Loaded) -> list[Block]:
    unit, rows = _grids.losses(loaded)
    if not rows:
        return []
    head = ("arm", unit, f"minus {text(short(loaded.arms[0]))}", "remark")
    cells = [[text(name(row.case)), row.value, text(row.difference), text(row.remark)] for row in rows]
    return [
        Block([f"### Held-out loss ({text(seeds_in_words(loaded))})"]),
        table(head, cells, what="arms", where="cases.csv", left_out=len(loaded.arms) - 1 - len(loaded.arms_shown)),
    ]


def _components(loaded: Loaded) -> list[Block]:
    rows = components.table(loaded)
    if rows.empty:
        return []
    columns = (rows["name"], rows["median_s"], rows["q1_s"], rows["q3_s"], rows["rounds"])
    cells = [
        [code(str(title)), human(middle, "s"), f"{human(low, 's')} to {human(high, 's')}", f"{rounds:,}"]
        for title, middle, low, high, rounds in zip(*columns, strict=True)
    ]
    return [
        Block(["### Single components"]),
        table(("component", "median", "middle half", "samples"), cells, what="components", where="components.csv"),
        Block([f"<sub>pytest-benchmark; {components.NO_VERDICT}.</sub>"]),
    ]


def _failed(loaded: Loaded) -> list[Block]:
    found = failed(loaded)
    lines = [f"- {code(case)} ({text(metrics)}): {text(reason)}" for case, metrics, reason in found[:MOST_LISTED]]
    lines += [f"- unit {code(unit)} has no record" for unit in loaded.run.missing[:MOST_LISTED]]
    left_out = sum(max(0, len(each) - MOST_LISTED) for each in (found, loaded.run.missing))
    return [Block(["### What failed", ""], lines, "entries", "cases.csv", left_out)] if lines else []


def _doubts(loaded: Loaded) -> list[Block]:
    lines = []
    for entry in entries(loaded):
        lines.append(f"- **{text(entry.title)}**")
        lines += [f"  - {text(where)}: {text(said)}" for said, where in entry.findings]
        lines += [f"  - and {entry.more} more like these"] if entry.more else []
    return [Block(["### Doubts in detail", ""], lines, "lines", "report.html")] if lines else []


def _method(loaded: Loaded) -> list[Block]:
    known = dict(facts(loaded))
    lines = [f"- {term}: {text(known[term])}" for term in _FACTS if term in known]
    lines.append(f"- Machine check: {text(machine_check(loaded)[1])}")
    lines.append(f"- Command: {code(shlex.join(loaded.run.command))}")
    return [Block(["<details><summary>How it was measured</summary>", ""], lines), Block(["</details>"])]


FORMAT = Format(lambda loaded: {NAME: markdown(loaded)})
