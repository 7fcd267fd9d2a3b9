"""Speed-up by variant (capacity) and length, over the matched baseline and over the anchor, with the line from which on variants pay."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from modbench.harness.domain.case import Case
from modbench.reports.figures.heat_map import HeatCell, draw_heat_map
from modbench.reports.figures.style import INK, Mark, Marks, bin_of, in_lines, new_figure
from modbench.reports.model import Block, Figure, Finding, Sentence, Value
from modbench.reports.panel import Panel
from modbench.reports.questions.break_even import Line, claimed
from modbench.reports.questions.map import spots
from modbench.reports.tables.findings import Against, against, by_length, figure_rows
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import DECIDED, TIMED, name, short
from modbench.reports.writers.number_format import NONE, half, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the figure, in inches of 72 points; the share of it that maps fill beside the names of the variants.
WIDTH, POINTS, MAPS_SHARE = 5.0, 72, 0.75
# A map of many cells is wider, up to a limit; names of variants and one cell, in inches.
WIDEST, NAMES, CELL = 7.5, 1.3, 0.4
# With more lengths a cell has room for its ratio alone.
FEW_LENGTHS = 7
# Where the numbers of a cell stand: heights in a row, and half their width in points.
_NUMBERS, _HALF_WIDTH = (0.2, 0.92), 14.0
_BAND_AT = 0.955
# A word beside a row that never pays: how far from the map, in cells, and its size in points.
_BESIDE, _SMALL = 0.08, 6.5
# Least height of a row in inches, and of a line of its name.
ROW, LINE = 0.36, 0.17
NOT_MEASURED = "not measured"
MATCHED = "the matched baseline"
CAPTION = "Speed-up over {base} ± half of its 95 % CI. Purple is faster, orange slower; grey equivalent, hatched inconclusive."


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw cells coloured by log2 speed-up in nine bins; undecided cells hatched; failures named."""
    titles = {metric: title for metric, title in TIMED.items() if (loaded.comparisons.metric == metric).any()}
    if not titles or not loaded.variants_shown or loaded.sizes_differ or spots(loaded):  # which `panels/map.py` draws
        return
    choices = against(loaded, titles)
    for choice in choices:
        yield replace(_figure(loaded, titles, choice), against=choice.title * (len(choices) > 1))


def _figure(loaded: Loaded, titles: Mapping[str, str], choice: Against) -> Figure:
    pairs, lengths = choice.pairs, loaded.lengths_shown
    columns = len(titles) * len(lengths)
    whole = min(WIDEST, max(WIDTH, NAMES + CELL * columns))
    names = [in_lines(case) + f"\nover {short(other)}" * choice.matched for case, other in pairs]
    row = max(ROW, LINE * max(text.count("\n") + 1 for text in names))
    made, axes = new_figure(whole, 0.8 + row * len(pairs), len(titles), share_y=True)
    marks, data, few = Marks(), list[Finding](), len(lengths) <= FEW_LENGTHS
    for axis, (metric, title) in zip(axes, titles.items(), strict=True):
        found = [by_length(loaded, metric, *pair, lengths) for pair in pairs]
        cells = [
            [_cell(case, length, title, mine.get(length), few=few) for length in lengths]
            for (case, _), mine in zip(pairs, found, strict=True)
        ]
        draw_heat_map(axis, cells, [str(length) for length in lengths], marks, 8.5 if few else 6.5)
        axis.set_title(title)
        axis.set_xlabel("tokens per sequence")
        data += [mine[length] for mine in found for length in lengths if length in mine]
        known = break_even_lines(loaded, metric, pairs)
        _draw_lines(axis, [case for case, _ in pairs], lengths, known, whole * POINTS * MAPS_SHARE / columns)
    axes[0].set_yticks([i + 0.5 for i in range(len(pairs))], names)
    base: Value = MATCHED if choice.matched else loaded.baseline
    label = f"Speed-up over {MATCHED if choice.matched else name(loaded.baseline)} by variant and sequence length"
    return Figure(
        "map" + "-cost" * choice.matched,
        made,
        label,
        Sentence(CAPTION, base=base),
        figure_rows(loaded, data),
        wide=True,
        marks=marks,
    )


def _cell(case: Case, length: int, title: str, found: Finding | None, *, few: bool) -> HeatCell:
    found = found or Finding(case, status="skipped", reason=NOT_MEASURED)
    spread = half(found.typical) if few else ""  # on hover, and in the table
    undecided = found.status == "ok" and found.verdict not in DECIDED
    color = bin_of(found.typical.value or 1.0, found.verdict)
    return heat_cell(case, length, title, found, color, spread, hatched=undecided)


def heat_cell(
    case: Case, length: int, title: str, found: Finding, color: int, below: str, *, hatched: bool = False
) -> HeatCell:
    """Return a cell of a map with its number, and what it says on hover: `MoD 0.125, T = 512, forward pass: 1.62× ▲ faster`."""
    mark, typical = said_on_hover(case, length, title, found), found.typical
    if typical.value is None:
        return HeatCell(None, "failed" if found.status == "failed" else NONE, "", False, mark)
    return HeatCell(color, plain(typical.alone), below, hatched, mark)


def said_on_hover(case: Case, length: int, title: str, found: Finding) -> Mark:
    """Return what a mark says on hover: who, where, what was found or why there is nothing."""
    told = Sentence("{status}: {reason}", status=found.status, reason=found.reason)
    told = told if found.typical.value is None else found.judged()
    said = Sentence(
        "{variant}, T = {length}, {title}: {told}", variant=short(case), length=length, title=title, told=told
    )
    return Mark(plain(said), case.variant)


# --- the break-even line: a mark in each row, joined between neighbouring capacities


def break_even_lines(loaded: Loaded, metric: str, pairs: Iterable[tuple[Case, Case]]) -> dict[str, Line]:
    """The line of each variant of the map against what it is compared with, at the place that figures show."""
    others = {case.variant: other.variant for case, other in pairs}
    found: dict[str, Line] = {}
    for line in claimed(loaded):
        along = line.axis == "seq_len" and line.found.metric == metric
        if along and others.get(line.case.variant) == line.baseline.variant:
            found.setdefault(line.case.variant, line)
    return found


def _draw_lines(
    axis: Axes, variants: Sequence[Case], lengths: Sequence[int], known: Mapping[str, Line], cell_points: float
) -> None:
    """Draw the lines of the variants on a map whose cells are one unit wide and high."""
    grid_points = list[float | None]()
    for y, case in enumerate(variants):
        line = known.get(case.variant)
        x = None if line is None else _at(line, lengths)
        grid_points.append(x)
        if line is None:
            continue
        if line.found.verdict == "never":
            axis.text(len(lengths) + _BESIDE, y + 0.5, "never", rotation=90, va="center", color=INK, fontsize=_SMALL)
        if x is not None:
            # Beside numbers it leaves them free; the left edge of the map is near none.
            near = x > 0 and min(abs(x - i - 0.5) for i in range(len(lengths))) < _HALF_WIDTH / cell_points
            for start, end in ((0.0, _NUMBERS[0]), (_NUMBERS[1], 1.0)) if near else ((0.0, 1.0),):
                _thick(axis, (x, x), (y + start, y + end))
        low, high = _band(line, lengths)
        if high > low:
            axis.plot([low, high], [y + _BAND_AT] * 2, color=INK, linewidth=1, linestyle=(0, (2.5, 2)), clip_on=False)
    for y, (x, below) in enumerate(itertools.pairwise(grid_points)):
        if x is not None and below is not None and _neighbours(variants[y], variants[y + 1]):
            _thick(axis, (x, below), (y + 1, y + 1))


def _thick(axis: Axes, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    axis.plot(xs, ys, color=INK, linewidth=2, clip_on=False, solid_capstyle="butt")


def _neighbours(case: Case, other: Case) -> bool:
    """Whether two rows are capacities of one model."""
    parts = [[part for part in each.variant_parts if not part.startswith("c")] for each in (case, other)]
    both = case.config.capacity is not None and other.config.capacity is not None
    return both and case.model == other.model and parts[0] == parts[1]


def _at(line: Line, lengths: Sequence[int]) -> float | None:
    """Where the mark stands: at the left edge where it pays at every length; None where it is not claimed to pay."""
    if line.found.verdict not in {"always", "from"}:
        return None
    return _position(line.found.typical.value, lengths, 0.0)


def _band(line: Line, lengths: Sequence[int]) -> tuple[float, float]:
    if line.found.verdict not in {"from", "inconclusive"}:
        return 0.0, 0.0
    point = line.found.typical
    return _position(point.low, lengths, 0.0), _position(point.high, lengths, float(len(lengths)))


def _position(at: float | None, lengths: Sequence[int], unknown: float) -> float:
    """A length between the centres of its neighbours' cells, on the log scale; an edge of the map where it is not known."""
    if at is None:
        return unknown
    centres = [i + 0.5 for i in range(len(lengths))]
    return float(np.interp(math.log(at), [math.log(length) for length in lengths], centres))


READING = (
    "Each number is the time of the baseline, which the buttons choose, divided by that of the variant: above 1 is faster. The "
    "thick line is the break-even length, dashed where else it may lie (95 % CI)."
)

PANEL = Panel(
    title="Which variant is faster at which length?",
    order=20,
    span=7,
    render=render,
    draws=True,
    reading=READING,
)
