"""LaTeX: names may hold anything, and mean nothing there; characters that pdflatex has no letter for are spelt out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from modbench.harness.core.printable import escaped
from modbench.harness.core.units import scale_of
from modbench.harness.domain.case import Case
from modbench.harness.stats.contrast import BETTER, EQUIVALENT, WORSE
from modbench.reports.model import ILLUSTRATION, Finding, Labelled, Table, Value
from modbench.reports.writers.number_format import NONE, Inline, bare, plain

# Columns up to which a cell has its interval, and that fit between the margins.
MOST_WITH_INTERVALS, MOST_COLUMNS = 3, 6

_SPELT = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"''",
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
    "‡": r"\ddag{}",
    "▲": r"$\triangle$",
    "▼": r"$\nabla$",
}
# What LaTeX prints without further packages: ASCII, and the letters of Western Europe.
_OTHER = re.compile(r"[^\x20-\x7e\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]")
_KNOWN = re.compile(f"({'|'.join(map(re.escape, _SPELT))})")


def text(said: str, most: int = 400) -> str:
    """Escape a text, on one line of at most about `most` characters."""
    plain = escaped(said, lines=False)
    plain = plain if len(plain) <= most else f"{plain[:most]} …"
    parts = _KNOWN.split(plain)
    return "".join(_SPELT.get(part) or _plain(part) for part in parts)


def _plain(part: str) -> str:
    """Keep dashes apart, which would melt into one, and spell out other characters."""
    return _OTHER.sub(
        lambda found: rf"\texttt{{U+{ord(found[0]):04X}}}", part.replace("--", "-{}-").replace("--", "-{}-")
    )


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
    r"""Write a table for booktabs: bold is better by more than the margin, a circle is undecided, disturbed or no claim.

    Intervals stand in it where its columns leave room. A dagger is a loss that saw later tokens.
    """
    intervals = len(made.head) - 1 <= MOST_WITH_INTERVALS
    columns = [*zip(*made.rows, strict=True)]
    whole = _scale([cell for row in made.rows for cell in row])
    scales = [whole or _scale(column) or (1.0, "") for column in columns]
    body = [
        [_cell(cell, *scale, intervals=intervals) for cell, scale in zip(row, scales, strict=True)] for row in made.rows
    ]
    title = made.label[:1].upper() + made.label[1:] + (f", {plain(made.at)}" if made.at else "")
    caption = " ".join(
        [text(f"{title}."), *(f"{note}." if note[-1:] not in ".:" else note for note in map(inline, made.notes))]
    )
    groups = made.groups or [""] * len(made.head)
    head = [
        " ".join(filter(None, (inline(group), _math(inline(each)))))
        for group, each in zip(groups, made.head, strict=True)
    ]
    return _TABLE.format(
        caption=caption,
        label=label,
        columns="l" + "r" * (len(head) - 1),
        head=" & ".join(head),
        body="\n".join(f"    {' & '.join(row)} \\\\" for row in body),
    )


def _scale(cells: Iterable[Value]) -> tuple[float, str] | None:
    """Return the factor and the name of the unit that values share; None where they share none."""
    values = [cell.value for cell in cells if isinstance(cell, Finding) and cell.value is not None]
    units = {value.unit for value in values}
    known = [value.value for value in values if value.value is not None]
    return scale_of(max(known, default=0.0), units.pop()) if len(units) == 1 else None


def _math(title: str) -> str:
    """Set a title such as `T = 128` as mathematics."""
    return f"${title}$" if re.fullmatch(r"[TB] = [\d,]+(, B = [\d,]+)?", title) else title


def _cell(cell: Value, factor: float, unit: str, *, intervals: bool) -> str:
    if isinstance(cell, Labelled | Case):
        return inline(cell)
    if not isinstance(cell, Finding):
        return "--" if cell is None or (isinstance(cell, str) and cell in {NONE, ""}) else inline(cell)
    if cell.status != "ok":
        return text(cell.status)
    if cell.against is None:
        own = cell.value
        return "--" if own is None or own.value is None else text(f"{bare(own.value, own, factor)} {unit}")
    made = cell.typical
    if made.value is None:
        return "--"
    return _ratio(cell, intervals=intervals) if made.kind == "ratio" else _difference(cell)


def _ratio(cell: Finding, *, intervals: bool) -> str:
    made = cell.typical
    said = f"{made.value:.2f}"
    if cell.verdict == BETTER:
        said = rf"\textbf{{{said}}}"
    elif cell.timed and cell.verdict not in {WORSE, EQUIVALENT}:
        said += r"$^{\circ}$"
    if intervals and made.closed:
        said += rf" {{\scriptsize {{[}}{made.low:.2f}--{made.high:.2f}{{]}}}}"
    return said


def _difference(cell: Finding) -> str:
    """Write a loss with its difference, whose signs are mathematics, and a dagger where it saw later tokens."""
    made, own = cell.typical, cell.value
    ends = "" if made.ends is None else f"~[{', '.join(bare(end, made) for end in made.ends)}]"
    difference = f"${bare(made.value or 0.0, made)}{ends}$"
    value = "" if own is None or own.value is None else f"{bare(own.value, own)} "
    if cell.saw_future:
        return rf"{value}{difference}$^{{\dagger}}$"
    return f"{value}{difference}" + r"$^{\circ}$" * (ILLUSTRATION in cell.labels)
