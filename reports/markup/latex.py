"""LaTeX: names may hold anything, and mean nothing there; characters that pdflatex has no letter for are spelt out."""

from __future__ import annotations

import re
from dataclasses import replace

from modbench.harness.core.plain_text import escaped
from modbench.reports.blocks import Finding, Table, Value
from modbench.reports.markup.number_format import Inline, plain
from modbench.reports.markup.short import Short, cells, explained

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
