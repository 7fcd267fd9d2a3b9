"""The section type: what answers one question, a section of the report; and the sections of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue
from modbench.reports.blocks import Block, Note, Sentence, Table, Value

if TYPE_CHECKING:
    import pandas as pd

    from modbench.reports.data_table import DataTable
    from modbench.reports.tables.load import Loaded


@dataclass(frozen=True)
class InPlace:
    """What stands in the terminal in place of the tables of times.

    Attributes:
        tables: these tables.
        baseline: names what their ratios are taken to.
        variants: the cases of their rows, of which other values are shown.
        metrics: metrics that these tables have, or that say nothing of one variant.
        words: what their verdicts mean, by glyph, where it is not that of times.
        notes: what else stands among these meanings.
        drawn: whether the section draws them, in place of the figure of speed-ups.
    """

    tables: Sequence[Table]
    baseline: str
    variants: Sequence[Case]
    metrics: frozenset[str]
    words: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[Value] = ()
    drawn: bool = False


@dataclass(frozen=True)
class Lead:
    """What a section adds to the summary: of the HTML report, the terminal, report.md and report.json.

    Attributes:
        answer: at most two sentences that answer what the run asked, in place of the ratios of times.
        warnings: what to hold against the answer.
        table: a table that the terminal shows above the tables of times.
        in_place: what stands in place of the tables of times; None where these stay.
        more: texts for the terminal with `-v`, of at most so many columns.
        data: further values for programs, by key, in what `--json` prints and in report.json.
    """

    answer: Callable[[Loaded], Iterable[Value]] = lambda _: ()
    warnings: Callable[[Loaded], Iterable[Value]] = lambda _: ()
    table: Callable[[Loaded], Table | None] = lambda _: None
    in_place: Callable[[Loaded], InPlace | None] = lambda _: None
    more: Callable[[Loaded, int], Iterable[str]] = lambda _loaded, _columns: ()
    data: Callable[[Loaded], Mapping[str, Any]] = lambda _: {}


@dataclass(frozen=True)
class Section:
    """One question that a run can answer: a section of the report, and what other outputs have of it.

    Attributes:
        title: heading.
        order: position in the report, ascending.
        span: width on a wide screen, in twelfths.
        render: pure function from a loaded run to its blocks, or to HTML; to None or nothing if the run has nothing to show here.
        folded: whether it is collapsed at first.
        printed: whether it stands on paper; an appendix of many pages does not.
        draws: whether there are figures among its blocks, which `modbench figure` saves.
        told: whether its tables and sentences stand in report.md and tables.tex too, and in the terminal with `-v`.
        reading: how to read it, for somebody who sees it for the first time: what it shows, and what it does not say.
        tables: tables for programs, which are written as NAME.csv and to report.json where they have rows.
        lead: what it adds to the summary, which stands before all sections.
        rules: rules whose decisions it shows; what other rules decided is said in short.
        reads_artifacts: whether it reads files of the folder `artifacts`, which have no schema.
    """

    title: str
    order: int
    span: int
    render: Callable[[Loaded], Iterable[Block | Markup] | Markup | None]
    folded: bool = False
    printed: bool = True
    draws: bool = False
    told: bool = False
    reading: str = ""
    tables: Sequence[DataTable[Any]] = ()
    lead: Lead = Lead()
    rules: frozenset[str] = frozenset()
    reads_artifacts: bool = False


def sections() -> list[tuple[str, Section]]:
    """Return the sections with their names, in the order of the report."""
    every: dict[str, Section] = catalogue.usable("sections")
    return sorted(every.items(), key=lambda item: item[1].order)


def in_place(loaded: Loaded) -> InPlace | None:
    """Return what a section has in place of the tables of times; None where these stay."""
    return next(filter(None, (section.lead.in_place(loaded) for _, section in sections())), None)


def more_tables(loaded: Loaded) -> dict[str, pd.DataFrame]:
    """Return the tables of sections that have rows."""
    made = {table.name: table.frame(loaded) for _, section in sections() for table in section.tables}
    return {name: table for name, table in made.items() if not table.empty}


def more_data(loaded: Loaded) -> dict[str, Any]:
    """Return what sections have for programs besides their tables, by key."""
    return {key: value for _, section in sections() for key, value in section.lead.data(loaded).items()}


def shared_blocks(loaded: Loaded) -> Iterator[Table | Sentence | Note]:
    """Yield the tables and sentences of sections that other outputs have too, in the order of the report."""
    for _, section in sections():
        if section.told:
            yield from (each for each in section.render(loaded) or () if isinstance(each, Table | Sentence | Note))
