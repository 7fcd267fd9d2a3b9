"""LaTeX tables for a paper: tables.tex for your document (with booktabs), and report.tex, a document that reads it.

Names may contain anything, and mean nothing there; characters that pdflatex has no letter for are spelt out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from modbench.extend import (
    Finding,
    Format,
    Inline,
    Loaded,
    Sentence,
    Short,
    Table,
    Value,
    cells,
    escaped,
    explained,
    masked,
    plain,
    shared_blocks,
    subsample_evenly,
    summary,
    value_tables,
)

# Columns that fit between the margins.
MOST_COLUMNS = 6

_SPELT = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"''",
    "-": "-{}",  # before another one, with which it would melt into one
    # After the end of a row these begin an option.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
    "×": r"$\times$",
    "÷": r"$\div$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "µ": r"$\mu$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "°": r"$^{\circ}$",
    "≠": r"$\neq$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¹": r"$^{1}$",
    "▲": r"$\triangle$",
    "▼": r"$\nabla$",
    "△": r"($\triangle$)",
    "▽": r"($\nabla$)",
}
# All but what LaTeX prints as it is, without further packages: ASCII, and the letters of Western Europe.
_SPECIAL = re.compile(r"-(?=-)|[^ !'()+,\-./0-9:;=?@A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]")


def text(said: str, most: int = 400) -> str:
    """Escape a text, on one line of at most about `most` characters."""
    plain = escaped(said, lines=False)
    plain = plain if len(plain) <= most else f"{plain[:most]} …"
    return _SPECIAL.sub(lambda found: _SPELT.get(found[0]) or rf"\texttt{{U+{ord(found[0]):04X}}}", plain)


class _Latex(Inline):
    def text(self, words: str) -> str:
        return text(words, 2000)


inline = _Latex()
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


def table(made: Table, label: str) -> str:
    r"""Write a table for booktabs; cells are as short as in a terminal, and the caption has what their marks mean."""
    rows = [[_without_value(cell) for cell in row] for row in made.rows]
    head, *body = cells(replace(made, rows=rows), Short())
    groups = made.groups or [""] * len(head)
    titles = [
        " ".join(filter(None, [inline(group), _math(text(title))])) for group, title in zip(groups, head, strict=True)
    ]
    title = made.label[:1].upper() + made.label[1:] + (f", {plain(made.at)}" if made.at else "")
    marks = explained(map(" ".join, body))
    notes = [*map(inline, made.notes), *([text("; ".join(marks))] if marks else [])]
    return _TABLE.format(
        caption=" ".join([text(f"{title}."), *(f"{note}." if note[-1:] not in ".:" else note for note in notes)]),
        label=label,
        columns="l" + "r" * (len(head) - 1),
        head=" & ".join(titles),
        body="\n".join(f"    {' & '.join(text(' '.join(cell.split())) for cell in row)} \\\\" for row in body),
    )


def _without_value(cell: Value) -> Value:
    """A cell without its own value, for which a column has no room, where that is compared."""
    return replace(cell, value=None) if isinstance(cell, Finding) and cell.against is not None else cell


def _math(title: str) -> str:
    """Set a title such as `T = 128` as mathematics."""
    return re.sub(r"^[TB] = [\d,]*\d(, B = [\d,]*\d)?", lambda found: f"${found[0]}$", title)


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
    if loaded.alone:
        return _fragment([])
    loss = value_tables.loss_table(loaded)
    of_sections = (each for each in shared_blocks(loaded) if isinstance(each, Table))
    narrow = (_captioned(loaded, _narrow(each)) for each in value_tables.tables(loaded))
    return _fragment([*narrow, *([loss] if loss else []), *of_sections])


def _fragment(made: Sequence[Table], first: str = "", warnings: Sequence[Value] = ()) -> str:
    r"""Return tables as a fragment for `\input`, below comments: the command that made them, and what must be known."""
    above = [f"% {escaped(plain(said), lines=False)}\n" for said in (first, *warnings) if said]
    labels = (f"modbench-{re.sub('[^a-z]+', '-', each.label.lower())}-{at}" for at, each in enumerate(made, start=1))
    return masked("".join([*above, _HEAD, *(map(table, made, labels) if made else [NONE])]))


def _narrow(made: Table) -> Table:
    """Leave out columns of a table that would be wider than a page: those that remain lie evenly."""
    kept = [0, *subsample_evenly(range(1, len(made.head)), MOST_COLUMNS)]
    left = len(made.head) - len(kept)
    notes = [*made.notes, *([f"{left} more columns are in comparisons.csv."] if left else [])]
    return replace(
        made, head=[made.head[i] for i in kept], rows=[[row[i] for i in kept] for row in made.rows], notes=notes
    )


def _captioned(loaded: Loaded, made: Table) -> Table:
    """Add what it was measured on."""
    left = [Sentence("{more} more variants are in comparisons.csv.", more=made.left_out)] if made.left_out else []
    return replace(made, notes=[*made.notes, f"{summary.measured_on(loaded)}.", *left])


FORMAT = Format(lambda loaded: {FRAGMENT: tables(loaded), DOCUMENT: _DOCUMENT}, _fragment)
