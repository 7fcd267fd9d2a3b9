"""Markdown for a pull request, report.md: the answer, tables, losses, failures, doubts, the method; under 65,536 characters."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.reports.blocks import Alert, Listed, Sentence, Table, Value
from modbench.reports.html_report.render import about
from modbench.reports.markup.markdown import Block, block, inline, listed, text, within
from modbench.reports.markup.number_format import plain
from modbench.reports.output_format import Format
from modbench.reports.questions import summary, value_tables
from modbench.reports.questions.found_warnings import doubts
from modbench.reports.questions.machine_check import warnings
from modbench.reports.section import shared_blocks
from modbench.reports.sections.failures_and_warnings import failure_sentences
from modbench.reports.sections.method import facts
from modbench.reports.tables.load import Loaded

NAME = "report.md"
# Facts about the machine and the method that a reader of a pull request needs.
_FACTS = (
    *("Processor", "GPU", "Packages", "modbench commit", "Protocol"),
    *("Number of processes", "Confidence interval", "Threads", "Machine check", "Command"),
)


def markdown(loaded: Loaded) -> str:
    """Return the report as Markdown."""
    told = summary.head(loaded)
    doubt = Listed(told.doubts, "; ") if told.doubts else None
    alerts: list[Value] = [*warnings(loaded), *filter(None, [loaded.run.incomplete])]
    blocks = [
        Block([f"## {text(plain(summary.title(loaded)))}", "", text(about(loaded))]),
        *(block(Alert(said)) for said in alerts),
        block(Sentence("Asked: {asked}", asked=told.asked)),
        listed("Answer", told.answer, "sentences", "report.html"),
        *(Block([f"**{title}:** {inline(said)}"]) for title, said in (("Sure", told.sure), ("Doubt", doubt)) if said),
        *map(block, shared_blocks(loaded)),
        *map(block, value_tables.with_losses(loaded)),
        listed("What failed", failure_sentences(loaded), "entries", "cases.csv"),
        listed("Doubts in detail", [each.sentence for each in doubts(loaded)], "entries", "report.html"),
        *_method(loaded),
    ]
    return within(blocks)


def _fragment(made: Sequence[Table], first: str, warnings: Sequence[Value]) -> str:
    """Return tables as Markdown, below a comment, such as the command that made them."""
    return within([Block([f"<!-- {text(first)} -->"]), *(block(Alert(said)) for said in warnings), *map(block, made)])


def _method(loaded: Loaded) -> list[Block]:
    known = dict(facts(loaded))
    lines = [f"- {term}: {inline(known[term])}" for term in _FACTS if term in known]
    return [Block(["<details><summary>How it was measured</summary>", ""], lines), Block(["</details>"])]


FORMAT = Format(lambda loaded: {NAME: markdown(loaded)}, _fragment)
