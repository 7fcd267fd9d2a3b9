"""HTML: blocks of the report, and templates. Every text is escaped; a figure is SVG with its data folded below."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from modbench.harness.core.group_by import grouped
from modbench.harness.domain.case import Case
from modbench.reports.blocks import Alert, Block, Figure, Note, Sentence, Table, Value
from modbench.reports.figures.style import look, to_svg
from modbench.reports.markup.data import csv as csv_text
from modbench.reports.markup.data import value
from modbench.reports.markup.number_format import Inline, numeric
from modbench.reports.wording import name, short

_HERE = Path(__file__).parents[1]
# `html_report/` has the page and shared macros; a section's template is beside its Python file.
_FOLDERS = (_HERE / "html_report", _HERE / "sections")


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["lean"] = _lean
    return made


def _lean(text: str) -> Markup:
    """Leave out indentation and whole lines of comment, which are for readers of the files, not of the report."""
    lines = (line.strip() for line in text.splitlines())
    return Markup("\n".join(line for line in lines if line and not line.startswith("//")))  # noqa: S704  # our own files


def fill(template: str | Path, **values: object) -> Markup:
    """Render `TEMPLATE.html.j2`, or a plug-in's own file, with these values; every value that is not `Markup` is escaped."""
    if isinstance(template, Path):
        made = _environment().from_string(template.read_text(encoding="utf-8"))
    else:
        made = _environment().get_template(f"{template}.html.j2")
    return Markup(made.render(values))  # noqa: S704  # escaped by the template


# A key that names more variants of one mark helps nobody: a reader could not tell them apart.
MOST_ALIKE = 2
# Width of an inch of a figure in pixels at most, so that the letters of all figures are of one size.
INCH = 100
# Cells of a figure's data that the page holds at most.
MOST_CELLS = 4000


class _Html(Inline):
    def __call__(self, value: Value) -> Markup:
        """Write a value as a part of a line."""
        return Markup(super().__call__(value))  # noqa: S704  # escaped part by part

    def text(self, words: str) -> str:
        return str(escape(words))

    def code(self, words: str, section: str = "") -> str:
        made = f"<code>{escape(words)}</code>"
        return f'<a href="#{escape(section)}">{made}</a>' if section else made


inline = _Html()


def written(blocks: Iterable[Block | Markup]) -> Markup | None:
    """Write blocks below each other, figures that are narrow enough side by side; None where there is none.

    Above figures among which the reader chooses (`Figure.against`) stand the choices.
    """
    made, every = list[Markup](), [*blocks]
    figures = [each for each in every if isinstance(each, Figure)]
    choices = [*dict.fromkeys(each.against for each in figures if each.against)]
    for against, group in groupby(every, lambda each: each.against if isinstance(each, Figure) else ""):
        parts = _in_rows([*group])
        if against and against == choices[0]:
            made.append(fill("choices", choices=choices, of=figures[0].name))
        made += [fill("choice", at=choices.index(against), parts=parts)] if against else parts
    return Markup("\n").join(made) if made else None


def _in_rows(blocks: Iterable[Block | Markup]) -> list[Markup]:
    made = list[Markup]()
    for least, group in groupby(blocks, lambda each: each.least if isinstance(each, Figure) else 0):
        parts = list(group)
        if least and len(parts) > 1:
            figures = [each for each in parts if isinstance(each, Figure)]
            shared = all(each.key == figures[0].key for each in figures)  # is shown once
            made += [_key(figures[0].key)] if shared else []
            drawn = [figure(replace(each, key=()) if shared else each) for each in figures]
            made.append(fill("side_by_side", figures=drawn, least=least))
        else:
            made += [_block(each) for each in parts]
    return made


def _block(block: Block | Markup) -> Markup:
    match block:
        case Markup():
            return block
        case Sentence():
            return Markup("<p>{}</p>").format(inline(block))
        case Note():
            return Markup('<p class="note">{}</p>').format(inline(block.said))
        case Alert():
            return Markup('<p class="warning" role="alert">{}</p>').format(inline(block.said))
        case Table():
            return _table(block)
        case Figure():
            return figure(block)


def _table(table: Table) -> Markup:
    numbers = {at for at in range(len(table.head)) if numeric(row[at] for row in table.rows)}
    return fill(
        "table",
        table=table,
        head=[(inline(title), at in numbers) for at, title in enumerate(table.head)],
        rows=Markup("").join(_rows(table, numbers)),
        groups=[(title, len([*columns])) for title, columns in groupby(map(inline, table.groups))],
        notes=[inline(note) for note in table.notes],
        left_out=inline(table.left_out) if table.left_out else "",
    )


def _rows(table: Table, numbers: Collection[int]) -> Iterator[Markup]:
    """Write the rows of a table; a template takes several times as long for a thousand of them."""
    every = [{}] * len(table.rows) if table.data is None else table.data.to_dict("records")
    names = [each.split() for each in table.names or [""] * len(table.head)]
    for row, known in zip(table.rows, every, strict=True):
        cells = (_cell(names[at], cell, known, number=at in numbers) for at, cell in enumerate(row))
        failed = Markup(' class="failed"') * (known.get("status") == "failed")
        variant = Markup(' data-variant="{}"').format(known["variant"]) if "variant" in known else ""
        yield Markup("<tr{}{}>{}</tr>\n").format(failed, variant, Markup("").join(cells))


def _cell(names: Sequence[str], cell: Value, known: Mapping[Any, object], *, number: bool) -> Markup:
    """Write a cell; where programs have names for what it holds also its exact values, as a CSV file has them."""
    exact = Markup()
    if names and (number or names[0] in known):
        values = [known[name] if name in known else getattr(cell, "value", None) for name in names]
        exact = Markup(' data-value="{}"').format(" ".join("" if value(each) is None else str(each) for each in values))
    return Markup("<td{}{}>{}</td>").format(Markup(' class="number"') * number, exact, inline(cell))


def figure(drawing: Figure) -> Markup:
    """Write a figure: the marks of its variants, inline SVG, the caption, its data folded below."""
    svg = to_svg(drawing.figure, drawing.name, drawing.label, drawing.marks)
    return fill(
        "figure",
        width=round(drawing.figure.get_figwidth() * INCH),
        wide=drawing.wide,
        key=_key(drawing.key),
        svg=Markup(svg),  # noqa: S704  # our own SVG, its label escaped
        caption=inline(drawing.caption),
        data=_data(drawing.name, drawing.label, drawing.data),
    )


def _key(variants: Sequence[Case]) -> Markup:
    """Write the marks and names of variants as a line of text; nothing for none.

    Of more than `MOST_ALIKE` variants with one mark, such as the sizes of a sweep, it says what their names have in common.
    """
    by_look = grouped((look(case), short(case) if case.matched else name(case)) for case in variants)
    marks = [
        {"look": mark, "name": each}
        for mark, names in by_look.items()
        for each in (names if len(names) <= MOST_ALIKE else [_together(names)])
    ]
    return fill("key", variants=marks) if marks else Markup()


def _together(names: Sequence[str]) -> str:
    """The words that several names begin with, and how many there are."""
    words = zip(*(each.split() for each in names), strict=False)
    common = [word for word, *_ in takewhile(lambda words: len(set(words)) == 1, words)]
    return f"{' '.join(common) or 'others'} ({len(names)} variants)"


def _data(identity: str, label: str, frame: pd.DataFrame) -> Markup:
    """Write the data of a figure behind a line that unfolds them; a longer table is named, not shown.

    The cells are those of a CSV file of the same table, so that a script can write the file from the report.
    """
    if frame.empty:
        return Markup()
    if frame.size > MOST_CELLS:
        return Markup(
            '<p class="note">Data: {:,} rows, more than the report holds. <code>modbench figure RUN {}</code> '
            "writes them.</p>"
        ).format(len(frame), identity)
    head, *rows = csv.reader(io.StringIO(csv_text(frame)))
    # Without a template, which takes several times as long for thousands of cells.
    cells = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>\n" for row in rows)
    return fill("figure_data", identity=identity, label=label, head=head, rows=Markup(cells), number=len(rows))  # noqa: S704  # escaped
