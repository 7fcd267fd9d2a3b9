"""The theoretical speed-up, from FLOPs, the one predicted for this machine, and the one that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.domain.case import Case
from modbench.harness.machine.roofline.table import RATIO_ERROR
from modbench.reports.blocks import Estimate, Figure, Sentence, is_number
from modbench.reports.figures.axes import ends_of, ratio_axis
from modbench.reports.figures.point_labels import label
from modbench.reports.figures.style import HAIR, MUTED, Marks, draw_dots, headline, in_lines, look, new_figure
from modbench.reports.markup.number_format import plain
from modbench.reports.section import Section
from modbench.reports.tables.comparisons import deciding, predicted_bias
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.pairs import RATIOS, of_row
from modbench.reports.wording import TIMED, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More names would cover the marks.
MOST_NAMED = 8


def render(loaded: Loaded) -> Iterator[Figure]:
    """Draw one mark per variant and length, larger for longer; on the diagonal time fell as FLOPs did."""
    grid, every = loaded.suite.grid, loaded.comparisons
    grid_point = (every.batch_size == grid.batch_size[0]) & (every.dtype == grid.dtype[0])
    shown = every.variant.isin([case.variant for case in loaded.variants_shown]) & every.seq_len.isin(
        loaded.lengths_shown
    )
    known = every[grid_point & shown & every.theoretical.notna()]
    sides = {metric: deciding(rows) for metric in TIMED if not (rows := known[known.metric == metric]).empty}
    if not sides:
        return
    data = pd.concat([*sides.values()])
    made, axes = new_figure(max(5.4, 2.2 + 1.9 * len(sides)), 3.1, len(sides), share_y=True)
    headline(made, "measured speed-up (higher is better)")
    # An interval may leave the frame: one of a single noisy case would press all marks together.
    ends = ends_of(filter(is_number, (*data.theoretical, *data.predicted, *data.ratio)), 1.12)
    marks = Marks()
    for axis, (metric, rows) in zip(axes, sides.items(), strict=True):
        _draw(axis, loaded, rows, ends, marks)
        axis.set_title(TIMED[metric])
        axis.set_xlabel("theoretical, from bytes read" if metric == "latency/decode" else "theoretical speed-up")
    caption = Sentence(
        "Theoretical: from FLOPs with causal attention. Dashes: predicted for this machine, ±{error}.",
        error=Estimate(RATIO_ERROR, kind="share"),
    )
    about = "Measured against theoretical speed-up, by variant and length"
    yield Figure("theoretical", made, about, caption, data[list(RATIOS)], len(sides) > 1, marks, loaded.variants_shown)


def _draw(axis: Axes, loaded: Loaded, data: pd.DataFrame, ends: tuple[float, float], marks: Marks) -> None:
    shown = {case.variant: case for case in loaded.variants_shown}
    looks = {variant: look(case) for variant, case in shown.items()}
    sizes = {length: (4 + 1.8 * i) ** 2 for i, length in enumerate(loaded.lengths_shown)}
    ratio_axis(axis, "x", ends)
    ratio_axis(axis, "y", ends)
    axis.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axis.axhline(1, color=HAIR, linewidth=1.2)
    data = data.assign(color=[looks[variant].color for variant in data.variant])
    known, dashes = data[data.ci_low.notna()], data[data.predicted.notna()]
    axis.vlines(known.theoretical, known.ci_low, known.ci_high, [*known.color], linewidth=0.8, alpha=0.5)
    # Of equal length to both sides on a log axis.
    axis.hlines(dashes.predicted, dashes.theoretical / 1.03, dashes.theoretical * 1.03, [*dashes.color], linewidth=1.6)
    rows: list[Row] = [*data.itertuples(index=False)]
    cases = ((row, loaded.cases_by_id[row.case_id]) for row in rows)
    dots = (
        (row.theoretical, row.ratio, sizes.get(row.seq_len, 36), case, plain(_hover_text(loaded, row, case)))
        for row, case in cases
    )
    draw_dots(axis, dots, marks)
    # Variants of one look, such as one model's ways to decode, have their names beside their marks.
    alike = Counter(looks[variant] for variant in data.variant.unique())
    last = {row.variant: row for row in sorted(rows, key=lambda row: row.seq_len) if alike[looks[row.variant]] > 1}
    if 0 < len(last) <= MOST_NAMED:  # the others are in the key
        label(axis, [(row.theoretical, row.ratio, in_lines(shown[row.variant])) for row in last.values()])


def _hover_text(loaded: Loaded, row: Row, case: Case) -> Sentence:
    """What a mark says on hover."""
    bias = predicted_bias(case, loaded.baseline) if is_number(row.predicted) else None
    return Sentence(
        "{variant}, T = {length}: theoretical {promised}, predicted {predicted}, measured {measured}"
        + "; {bias}" * bool(bias),
        bias=bias,
        variant=short(case),
        length=case.grid_point.seq_len,
        promised=Estimate.of(row.theoretical, kind="ratio"),
        predicted=Estimate.of(row.predicted, kind="ratio"),
        measured=of_row(row, case, loaded.baseline).typical,
    )


READING = (
    "On the dashed diagonal time fell as FLOPs did; a mark below it lost a part of the theoretical gain. From the diagonal to "
    "the dash is what smaller operators cost on this machine, from the dash to the mark is not explained by them."
)

SECTION = Section(
    title="Did fewer FLOPs become less time?", order=40, span=12, render=render, draws=True, reading=READING
)
