"""The panel type: what answers one question, a section of the page; and the panels of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.harness.core import catalogue
from modbench.reports.model import Block, Note, Sentence, Table

if TYPE_CHECKING:
    import pandas as pd

    from modbench.reports.tables.load import Loaded


@dataclass(frozen=True)
class Panel:
    """One question that a run can answer: a section of the page, and what other outputs have of it.

    Attributes:
        title: heading.
        order: position on the page, ascending.
        span: width on a wide screen, in twelfths.
        render: pure function from a loaded run to its blocks, or to HTML; to None or nothing if the run has nothing to show here.
        folded: whether it is collapsed at first.
        draws: whether there are figures among its blocks, which `modbench figure` saves.
        told: whether its tables and sentences stand in report.md and tables.tex too, and in the terminal with `-v`.
        reading: how to read it, for somebody who sees it for the first time: what it shows, and what it does not say.
        tables: name to a table in base units, which is written as NAME.csv and to report.json where it has rows.
    """

    title: str
    order: int
    span: int
    render: Callable[[Loaded], Iterable[Block | Markup] | Markup | None]
    folded: bool = False
    draws: bool = False
    told: bool = False
    reading: str = ""
    tables: Mapping[str, Callable[[Loaded], pd.DataFrame]] = field(default_factory=dict)


def panels() -> list[tuple[str, Panel]]:
    """Return the panels with their names, in the order of the page."""
    every: dict[str, Panel] = catalogue.usable("panels")
    return sorted(every.items(), key=lambda item: item[1].order)


def shared_blocks(loaded: Loaded, but: str = "") -> Iterator[Table | Sentence | Note]:
    """Yield the tables and sentences of panels that other outputs have too, in the order of the page; but for one panel."""
    for name, panel in panels():
        if panel.told and name != but:
            yield from (each for each in panel.render(loaded) or () if isinstance(each, Table | Sentence | Note))
