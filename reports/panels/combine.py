"""Do savings multiply? What a model that skips tokens and a cheaper mixer save together, over the product of both alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.core.grouped import grouped
from modbench.reports.figures.axes import ends_of, name_rows, ratio_axis
from modbench.reports.figures.style import INK, MUTED, Mark, Marks, look, new_figure
from modbench.reports.model import Block, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import combine
from modbench.reports.questions.combine import SHOWN, Combined
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.writers.number_format import grid_point, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Combinations and lengths side by side.
MOST_COLUMNS = 4


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw the ratios of ratios by length, then show a table for each combination."""
    shown = ((each, each.together.typical) for each in combine.combined(loaded) if each.metric in SHOWN)
    ratios = [each for each, found in shown if found.kind == "ratio" and found.value is not None]
    if ratios:
        yield _figure(ratios)
    yield from combine.tables(loaded)


def _figure(ratios: Sequence[Combined]) -> Figure:
    """A column for each combination and length, a row for each metric."""
    metrics = [metric for metric in SHOWN if metric in {each.metric for each in ratios}]
    columns = grouped(((each.square.title, each.length), each) for each in ratios)
    shown, marks = subsample_evenly([*columns.values()], MOST_COLUMNS), Marks()
    made, axes = new_figure(max(5.4, 1.6 + 1.6 * len(shown)), 0.9 + 0.24 * len(metrics), len(shown), share_y=True)
    data = pd.DataFrame(
        {
            "arm": each.square.both.arm,
            "metric": each.metric,
            "seq_len": each.length,
            "expected": each.expected,
            **columns_of(each.together.typical, "ratio_of_ratios"),
        }
        for each in ratios
    )
    drawn = [each.together.typical for column in shown for each in column]
    ends = ends_of((at for each in drawn for at in (each.value, each.low, each.high) if at is not None), room=1.08)
    for axis, column in zip(axes, shown, strict=True):
        ratio_axis(axis, "x", ends)
        axis.axvline(1, color=MUTED, linewidth=0.9)
        square, at = column[0].square, plain(grid_point("T", column[0].length))
        axis.set_title(f"{square.skipping} ×\n{square.mixing}, {at}")
        for each in column:
            _mark(axis, each, metrics.index(each.metric), marks)
    name_rows(axes[0], [SHOWN[metric] for metric in metrics], room=0.5)
    return Figure(
        "combine",
        made,
        "What two changes save together over the product of what each saves alone",
        "Right of 1 both together save more than the product of what each saves alone, left of it less. Lines: 95 %.",
        data,
        wide=True,
        marks=marks,
    )


def _mark(axis: Axes, each: Combined, y: float, marks: Marks) -> None:
    found, style = each.together.typical, look(each.square.both)
    if found.ends is not None:
        axis.plot(found.ends, [y, y], color=style.color, linewidth=1.6)
    assert found.value is not None
    (drawn,) = axis.plot([found.value], [y], style.marker, markersize=6, color=style.color)
    drawn.set(markeredgecolor=INK, markeredgewidth=0.6)
    words = Sentence(
        "{both}, {what}: {said}", both=each.square.both, what=SHOWN[each.metric], said=each.together.judged()
    )
    marks.name(drawn, Mark(plain(words), each.square.both.arm))


READING = (
    "Each table is one combination: what skipping tokens saves alone, what the other mixer saves alone, and what both save "
    "together, all against the baseline. The last column divides both by the product of the two: at 1× the savings multiply, "
    "below it they overlap, since what one saves the other cannot save again. Times are compared launch by launch, losses seed "
    "by seed, at equal training FLOPs where the suite trains so; a loss above the sum means that the two harm each other."
)

PANEL = Panel(
    title="Do the savings multiply?",
    order=9,
    span=12,
    render=render,
    draws=True,
    told=True,
    reading=READING,
    tables=[combine.TABLE],
    lead=Lead(answer=combine.answer, in_place=combine.in_place),
)
