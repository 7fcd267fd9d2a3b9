"""Markdown for a pull request, report.md: the answer, tables, losses, failures, doubts, the method; under 65,536 characters."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from modbench.reports.format import Format
from modbench.reports.model import Alert, Listed, Sentence, Value
from modbench.reports.panels.doubts import entries
from modbench.reports.panels.failures import failed
from modbench.reports.panels.machine import facts
from modbench.reports.questions import components, pays, results
from modbench.reports.sentences import first_screen, question
from modbench.reports.sentences.machine import machine_check, warnings
from modbench.reports.sentences.question import place_shown
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.markdown import Block, block, code, inline, listed, text, within

NAME = "report.md"
MOST_LISTED = 24
# Facts about the machine and the method that a reader of a pull request needs.
_FACTS = ("Processor", "GPU", "Packages", "modbench commit", "Protocol", "Number of launches", "Interval", "Threads")


def markdown(loaded: Loaded) -> str:
    """Return the report as Markdown."""
    run, suite = loaded.run, loaded.run.plan.suite
    version = run.environment["packages"]["modbench"]
    about = f"{run.started[:10]} · suite {suite.name} · {suite.effort}: {suite.launches_in_words} · modbench {version}"
    told = first_screen.head(loaded)
    # What figures and tiles leave out is not left out here.
    answers = [each for each in (*told.answer, *told.details) if each not in place_shown(loaded)]
    alerts = [*warnings(loaded), *filter(None, [run.incomplete])]
    tables = [pays.table(loaded), *results.tables(loaded), results.loss_table(loaded)]
    blocks = [
        Block([f"## {text(question.title(loaded))}", "", text(about)]),
        *(block(Alert(said)) for said in alerts),
        block(Sentence("Asked: {asked}", asked=told.asked)),
        listed("Answer", answers, "sentences", "report.html"),
        *(_said(title, said) for title, said in (("How sure", told.sure), ("What to doubt", told.doubts)) if said),
        *(block(table) for table in tables if table is not None),
    ]
    blocks += [*map(block, components.blocks(loaded)), *_failed(loaded), *_doubts(loaded), *_method(loaded)]
    return within(blocks)


def _said(title: str, said: Sequence[Value]) -> Block:
    return Block([f"**{title}:** {inline(Listed(said, ' '))}"])


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
