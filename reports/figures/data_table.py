"""The numbers behind a figure as a table on the page: for readers who do not see the figure, and to download."""

from __future__ import annotations

import csv
import io

import pandas as pd
from markupsafe import Markup, escape

from modbench.reports.writers.csv_text import csv as csv_text

# Cells that the page holds for a figure at most.
MOST_CELLS = 4000


def folded(name: str, label: str, frame: pd.DataFrame) -> Markup:
    """Return the data of a figure behind a line that unfolds them; a longer table is named, not shown.

    The cells are those of a CSV file of the same table, so that a script can write the file from the page.

    Args:
        name: of the figure.
        label: what the figure shows.
        frame: its data.
    """
    if frame.empty:
        return Markup("")
    if frame.size > MOST_CELLS:
        said = Markup(
            '<p class="note">Data: {:,} rows, more than this page holds. <code>modbench figure RUN {}</code> '
            "writes them.</p>"
        )
        return said.format(len(frame), name)
    head, *rows = csv.reader(io.StringIO(csv_text(frame)))
    made = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>\n" for row in rows)
    return Markup(
        '<details class="data"><summary>Data of the figure ({} rows)</summary>'
        '<p class="tools"><button type="button" class="csv" data-of="{}" hidden>Download CSV</button> in base units</p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Data: {}"><table id="{}"><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div></details>"
    ).format(
        len(rows),
        f"data-{name}",
        label,
        f"data-{name}",
        Markup("").join(Markup('<th scope="col">{}</th>').format(title) for title in head),
        Markup(made),  # noqa: S704  # each cell is escaped
    )
