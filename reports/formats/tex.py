"""LaTeX tables for a paper: tables.tex for your document (with booktabs), and report.tex, a document that reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from modbench.harness.core.masking import masked
from modbench.harness.core.units import scale_of, three_digits
from modbench.reports.format import Format
from modbench.reports.formats import _grids
from modbench.reports.sentences.evidence import seeds_in_words
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import is_number
from modbench.reports.writers.latex import text

FRAGMENT, DOCUMENT = "tables.tex", "report.tex"
# Columns up to which a cell has its interval: with more, the table would be wider than the text.
MOST_WITH_INTERVALS = 3
# Columns of a table that fits between the margins.
MOST_COLUMNS = 6
_HEAD = r"""% Tables of a modbench report, for \input{tables}. In the preamble: \usepackage{booktabs}
% Bold: better, by the suite's margin and over all comparisons of the table. Numbers with more digits: comparisons.csv
"""
_DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
\input{tables}
\end{document}
"""
_TABLE = r"""
\begin{{table}}
  \centering\small\setlength{{\tabcolsep}}{{4pt}}
  \caption{{{caption}}}
  \label{{tab:{label}}}
  \begin{{tabular}}{{{columns}}}
    \toprule
    {head} \\
    \midrule
{body}
    \bottomrule
  \end{{tabular}}
\end{{table}}
"""
NONE = "% No table: this run compares no arms at the same shape.\n"


def tables(loaded: Loaded) -> str:
    """Return the tables as a fragment."""
    made = [_grid(loaded, grid, number) for number, grid in enumerate(_grids.grids(loaded), start=1)]
    made += _losses(loaded)
    return masked(_HEAD + ("".join(made) or NONE))


def _grid(loaded: Loaded, grid: _grids.Grid, number: int) -> str:
    grid = _narrow(grid)
    intervals = grid.is_time and len(grid.columns) <= MOST_WITH_INTERVALS
    head = ["", *(f"${grid.axis} = {value}$" for value in grid.columns)]
    factor, unit = scale_of(max((value for value in grid.of_baseline if value is not None), default=1.0), grid.unit)
    values = ("--" if value is None else three_digits(value / factor) for value in grid.of_baseline)
    rows = [[text(f"{name(grid.baseline)} ({unit})"), *values]]
    rows += [[text(name(case)), *(_cell(cell, intervals=intervals) for cell in cells)] for case, cells in grid.rows]
    return _table(
        _caption(loaded, grid, intervals=intervals), f"modbench-{re.sub('[/_]', '-', grid.metric)}-{number}", head, rows
    )


def _narrow(grid: _grids.Grid) -> _grids.Grid:
    """Leave out columns of a table that would be wider than a page: those that remain lie evenly."""
    kept = evenly(range(len(grid.columns)), MOST_COLUMNS)
    rows = [(case, [cells[at] for at in kept]) for case, cells in grid.rows]
    return replace(
        grid,
        columns=[grid.columns[at] for at in kept],
        of_baseline=[grid.of_baseline[at] for at in kept],
        rows=rows,
        columns_left_out=len(grid.columns) - len(kept),
    )


def _caption(loaded: Loaded, grid: _grids.Grid, *, intervals: bool) -> str:
    suite, kind = loaded.run.plan.suite, "speed-up over" if grid.is_time else "times less than"
    sentences = [f"{grid.title}: {kind} {name(grid.baseline)}, whose own value is in the first row; above 1 is better"]
    if grid.is_time:
        where = "" if intervals else " (not shown; see comparisons.csv)"
        sentences.append(f"95 % t-intervals{where} over launches ({suite.launches_in_words.replace(' x ', ' × ')})")
        sentences.append("Bold: faster by more than the margin" if suite.claims else "A smoke run: no claims")
        sentences.append("Circle: undecided, disturbed or without a verdict")
    threads = f", {grid.threads} thread{'s' * (grid.threads != 1)}" if grid.device == "cpu" else ""
    sentences.append(f"{loaded.device_name}{threads}, {grid.where}")
    if grid.columns_left_out:
        sentences.append(f"{grid.columns_left_out} more values of {grid.axis} are in comparisons.csv")
    if grid.left_out:
        sentences.append(f"{grid.left_out} more arms are in comparisons.csv")
    return text(f"{'. '.join(sentences)}.", 2000)


def _cell(row: pd.Series | None, *, intervals: bool) -> str:
    if row is None:
        return "--"
    if row.status != "ok" or not is_number(row.ratio):
        return text(str(row.status)) if row.status != "ok" else "--"
    said = f"{row.ratio:.2f}"
    if row.verdict == "better":
        said = rf"\textbf{{{said}}}"
    elif row.unit == "s" and row.verdict not in {"worse", "equivalent"}:
        said += r"$^{\circ}$"
    if intervals and is_number(row.ci_low):
        said += rf" {{\scriptsize {{[}}{row.ci_low:.2f}, {row.ci_high:.2f}{{]}}}}"
    return said


def _losses(loaded: Loaded) -> list[str]:
    unit, rows = _grids.losses(loaded)
    if not rows:
        return []
    caption = text(f"Held-out loss in {unit}; {seeds_in_words(loaded)}.")
    if any(row.remark for row in rows):
        caption += r" Dagger: routed with later tokens in sight, so not comparable with a causal loss."
    body = [
        [text(name(row.case)) + (r"$^{\dagger}$" if row.remark else ""), row.value, _signed(row.difference)]
        for row in rows
    ]
    head = ["", text(unit), f"minus {text(short(loaded.arms[0]))}"]
    return [_table(caption, "modbench-loss", head, body)]


def _signed(difference: str) -> str:
    """Set the signs of a difference and its interval as mathematics."""
    return f"${difference.replace('[', '~[')}$" if difference else "--"


def _table(caption: str, label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = "\n".join(f"    {' & '.join(row)} \\\\" for row in rows)
    columns = "l" + "r" * (len(head) - 1)
    return _TABLE.format(caption=caption, label=label, columns=columns, head=" & ".join(head), body=body)


FORMAT = Format(lambda loaded: {FRAGMENT: tables(loaded), DOCUMENT: _DOCUMENT})
