"""LaTeX tables for a paper: tables.tex for your document (with booktabs), and report.tex, a document that reads it."""

from __future__ import annotations

import re
from dataclasses import replace

from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import escaped
from modbench.reports.blocks import Sentence, Table
from modbench.reports.markup import latex
from modbench.reports.markup.data import sentences
from modbench.reports.output_format import Format
from modbench.reports.questions import value_tables
from modbench.reports.questions.machine_check import warnings
from modbench.reports.questions.summary import measured_on
from modbench.reports.section import shared_blocks
from modbench.reports.tables.load import Loaded, subsample_evenly

FRAGMENT, DOCUMENT = "tables.tex", "report.tex"
_HEAD = r"""% Tables of a modbench report, for \input{tables}. In the preamble: \usepackage{booktabs}
% Numbers with more digits, and intervals: comparisons.csv
"""
_DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
\input{tables}
\end{document}
"""
NONE = "% No table: this run compares no variants at the same shape.\n"


def tables(loaded: Loaded) -> str:
    """Return the tables as a fragment: one for each metric and setting, held-out losses, and those of sections."""
    shown: list[Table] = []
    if not loaded.alone:
        loss = value_tables.loss_table(loaded)
        shown = [
            *(_captioned(loaded, _narrow(each)) for each in value_tables.tables(loaded)),
            *([loss] if loss else []),
        ]
        shown += [each for each in shared_blocks(loaded) if isinstance(each, Table)]
    made = [
        latex.table(each, f"modbench-{re.sub('[^a-z]+', '-', each.label.lower())}-{number}")
        for number, each in enumerate(shown, start=1)
    ]
    return masked(_HEAD + ("".join(made) or NONE))


def fragment(loaded: Loaded, made: Table, label: str, first: str) -> str:
    r"""Return one table as a fragment for `\input`, below a comment, such as the command that made it."""
    table = latex.table(_captioned(loaded, made), label)
    above = [f"% {escaped(said, lines=False)}\n" for said in (first, *sentences(warnings(loaded)))]
    return masked("".join([*above, _HEAD, table]))


def _narrow(made: Table) -> Table:
    """Leave out columns of a table that would be wider than a page: those that remain lie evenly."""
    kept = [0, *subsample_evenly(range(1, len(made.head)), latex.MOST_COLUMNS)]
    left = len(made.head) - len(kept)
    notes = [*made.notes, *([f"{left} more columns are in comparisons.csv."] if left else [])]
    return replace(
        made, head=[made.head[i] for i in kept], rows=[[row[i] for i in kept] for row in made.rows], notes=notes
    )


def _captioned(loaded: Loaded, made: Table) -> Table:
    """Add what it was measured on."""
    left = [Sentence("{more} more variants are in comparisons.csv.", more=made.left_out)] if made.left_out else []
    return replace(made, notes=[*made.notes, f"{measured_on(loaded)}.", *left])


FORMAT = Format(lambda loaded: {FRAGMENT: tables(loaded), DOCUMENT: _DOCUMENT})
