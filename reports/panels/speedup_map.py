"""Speed-up by arm (capacity) and length, over dense of equal cost and over the anchor, with the line from which on arms pay."""

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
from modbench.reports.model import Block, Estimate, Figure, Finding, Note, Sentence, Value
from modbench.reports.panel import Panel
from modbench.reports.questions.break_even import Line, claimed
from modbench.reports.questions.first_screen import residuals
from modbench.reports.tables import losses
from modbench.reports.tables.findings import Against, against, by_length, figure_rows
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import DECIDED, TIMED, short
from modbench.reports.writers.number_format import NONE, half, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the figure, in inches of 72 points; the share of it that maps fill beside the names of the arms.
WIDTH, POINTS, MAPS_SHARE = 5.0, 72, 0.75
# A map of many cells is wider, up to a limit; names of arms and one cell, in inches.
WIDEST, NAMES, CELL = 7.5, 1.3, 0.4
# With more lengths a cell has room for its ratio alone.
FEW_LENGTHS = 7
# Where the numbers of a cell stand: heights in a row, and half their width in points.
_NUMBERS, _HALF_WIDTH = (0.2, 0.92), 14.0
_BAND_AT = 0.955
# A word beside a row that never pays: how far from the map, in cells, and its size in points.
_BESIDE, _SMALL = 0.08, 6.5
_MEANINGS = {
    "line": "Thick line: from there on it pays",
    "band": "Dashed: where that may begin",
    "never": "Never: it pays at no length",
}
# Least height of a row in inches, and of a line of its name.
ROW, LINE = 0.36, 0.17


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw cells coloured by log2 speed-up in nine bins; undecided cells hatched; failures named."""
    sides = [(title, metric) for metric, title in TIMED.items() if (loaded.comparisons.metric == metric).any()]
    if not sides or not loaded.arms_shown or loaded.sizes_differ:
        return
    choices = against(loaded, [metric for _, metric in sides])
    for choice in choices:
        yield replace(_figure(loaded, sides, choice), against=choice.title * (len(choices) > 1))
    if said := residuals(loaded):
        yield Note(said)


def _figure(loaded: Loaded, sides: Sequence[tuple[str, str]], choice: Against) -> Figure:
    pairs, arms = choice.pairs, [case for case, _ in choice.pairs]
    cells = len(sides) * len(loaded.lengths_shown)
    whole = min(WIDEST, max(WIDTH, NAMES + CELL * cells))
    over = [f"\nover {short(other)}" * choice.equal_cost for _, other in pairs]
    names = [in_lines(case) + over[i] for i, case in enumerate(arms)]
    row = max(ROW, LINE * max(text.count("\n") + 1 for text in names))
    made, axes = new_figure(whole, 0.8 + row * len(arms), len(sides), share_y=True)
    width = whole * POINTS * MAPS_SHARE / cells
    drawn, marks, data = set[str](), Marks(), list[Finding]()
    for axis, (title, metric) in zip(axes, sides, strict=True):
        found = [by_length(loaded, metric, *pair) for pair in pairs]
        _draw(axis, loaded, title, pairs, found, marks)
        data += [each for line in found for length in loaded.lengths_shown if (each := line.get(length))]
        known = break_even_lines(loaded, metric, pairs)
        drawn |= _draw_lines(axis, arms, loaded.lengths_shown, known, width)
    axes[0].set_yticks([i + 0.5 for i in range(len(arms))], names)
    judged, hatched = any(each.verdict for each in data), any(map(_hatched, data))
    colours = (
        "Purple is faster, orange slower" + "; hatched: undecided" * hatched if judged else "Grey, hatched: no verdict"
    )
    caption = Sentence(
        f"Speed-up over {{base}}, ± half the 95 % interval. {colours}."
        + " Rows of dense models: the alternatives of equal cost." * any(case.rung for case in arms)
        + "".join(f" {meaning}." for sign, meaning in _MEANINGS.items() if sign in drawn),
        base="dense of equal cost" if choice.equal_cost else loaded.baseline,
    )
    label = f"Speed-up over {'dense of equal cost' if choice.equal_cost else 'the anchor'} by arm and sequence length"
    # Where losses lie along capacity and length, `panels/map.py` has the figure of that name.
    name = "speedup" if losses.along_capacity(loaded) else "map"
    frame = figure_rows(loaded, data)
    return Figure(f"{name}-cost" if choice.equal_cost else name, made, label, caption, frame, wide=True, marks=marks)


def _draw(
    axis: Axes,
    loaded: Loaded,
    title: str,
    pairs: Sequence[tuple[Case, Case]],
    found: Sequence[Mapping[int, Finding]],
    marks: Marks,
) -> None:
    lengths = loaded.lengths_shown
    few = len(lengths) <= FEW_LENGTHS
    cells = [
        [_cell(case, length, title, line.get(length), few=few) for length in lengths]
        for (case, _), line in zip(pairs, found, strict=True)
    ]
    draw_heat_map(axis, cells, [str(length) for length in lengths], marks, 8.5 if few else 6.5)
    axis.set_title(title)
    axis.set_xlabel("tokens per sequence")


def _cell(case: Case, length: int, title: str, found: Finding | None, *, few: bool) -> HeatCell:
    mark = said_on_hover(case, length, title, found)
    if found is None or found.typical.value is None:
        return HeatCell(None, "failed" if found is not None and found.status == "failed" else NONE, "", False, mark)
    ratio = found.typical
    spread = half(ratio) if few else ""  # on hover, and in the table
    text = plain(Estimate(ratio.value, kind="fraction"))
    return HeatCell(bin_of(ratio.value or 1.0, found.verdict), text, spread, _hatched(found), mark)


def _hatched(found: Finding) -> bool:
    """Whether a cell is not decided."""
    return found.status == "ok" and found.verdict not in DECIDED


def said_on_hover(case: Case, length: int, title: str, found: Finding | None) -> Mark:
    """What a cell says on hover: `MoD 0.125, T = 512, forward pass: 1.62× [1.60–1.65] ▲ faster`."""
    told: Value = "not measured"
    if found is not None:
        failed = Sentence("{status}: {reason}", status=found.status, reason=found.reason)
        told = failed if found.typical.value is None else found.judged()
    said = Sentence("{arm}, T = {length}, {title}: {told}", arm=case, length=length, title=title, told=told)
    return Mark(plain(said), case.arm)


# --- the break-even line: a mark in each row, joined between neighbouring capacities


def break_even_lines(loaded: Loaded, metric: str, pairs: Iterable[tuple[Case, Case]]) -> dict[str, Line]:
    """The line of each arm of the map against what it is compared with, at the place that figures show."""
    others = {case.arm: other.arm for case, other in pairs}
    found: dict[str, Line] = {}
    for line in claimed(loaded):
        along = line.axis == "seq_len" and line.found.metric == metric
        if along and others.get(line.case.arm) == line.baseline.arm:
            found.setdefault(line.case.arm, line)
    return found


def _draw_lines(
    axis: Axes, arms: Sequence[Case], lengths: Sequence[int], known: dict[str, Line], cell_points: float
) -> set[str]:
    """Draw the lines of the arms on a map whose cells are one unit wide and high; return what was drawn, of `_MEANINGS`."""
    places, drawn = list[float | None](), set[str]()
    for y, case in enumerate(arms):
        line = known.get(case.arm)
        x = None if line is None else _at(line, lengths)
        places.append(x)
        if line is None:
            continue
        if line.found.verdict == "never":
            drawn.add("never")
            axis.text(len(lengths) + _BESIDE, y + 0.5, "never", rotation=90, va="center", color=INK, fontsize=_SMALL)
        if x is not None:
            drawn.add("line")
            _tick(axis, x, y, near=_to_centre(x, len(lengths)) < _HALF_WIDTH / cell_points)
        low, high = _band(line, lengths)
        if high > low:
            drawn.add("band")
            axis.plot([low, high], [y + _BAND_AT] * 2, color=INK, linewidth=1, linestyle=(0, (2.5, 2)), clip_on=False)
    for y, (x, below) in enumerate(itertools.pairwise(places)):
        if x is not None and below is not None and _neighbours(arms[y], arms[y + 1]):
            axis.plot([x, below], [y + 1, y + 1], color=INK, linewidth=2, clip_on=False, solid_capstyle="butt")
    return drawn


def _tick(axis: Axes, x: float, y: int, *, near: bool) -> None:
    """A mark through the row at x; beside numbers it leaves them free."""
    for start, end in ((0.0, _NUMBERS[0]), (_NUMBERS[1], 1.0)) if near else ((0.0, 1.0),):
        axis.plot([x, x], [y + start, y + end], color=INK, linewidth=2, clip_on=False, solid_capstyle="butt")


def _to_centre(x: float, columns: int) -> float:
    """Distance to the nearest centre of a cell; the left edge of the map is near none."""
    if x == 0:
        return math.inf
    return min(abs(x - i - 0.5) for i in range(columns))


def _neighbours(case: Case, other: Case) -> bool:
    """Whether two rows are capacities of one model."""
    parts = [[part for part in each.arm_parts if not part.startswith("c")] for each in (case, other)]
    both = case.config.capacity is not None and other.config.capacity is not None
    return both and case.model == other.model and parts[0] == parts[1]


def _at(line: Line, lengths: Sequence[int]) -> float | None:
    """Where the mark stands: at the left edge where it pays at every length; None where it is not claimed to pay."""
    found = line.found
    if found.verdict not in {"always", "crossing"}:
        return None
    return 0.0 if found.typical.value is None else _position(found.typical.value, lengths)


def _band(line: Line, lengths: Sequence[int]) -> tuple[float, float]:
    found, point = line.found, line.found.typical
    if found.verdict not in {"crossing", "undecided"}:
        return 0.0, 0.0
    low = 0.0 if point.low is None else _position(point.low, lengths)
    return low, float(len(lengths)) if point.high is None else _position(point.high, lengths)


def _position(at: float, lengths: Sequence[int]) -> float:
    """A length between the centres of its neighbours' cells, on the log scale."""
    centres = [i + 0.5 for i in range(len(lengths))]
    return float(np.interp(math.log(at), [math.log(length) for length in lengths], centres))


READING = (
    "Each cell is one arm at one sequence length. Its number is the time of the dense model of equal cost, or of the anchor, as "
    "the buttons choose, divided by the time of the arm: 1.50 means that the arm does the same call in two thirds of the time, "
    "and above 1 is better. Purple is faster, orange is slower, grey is within 9 % of 1 or shows no direction, and a hatched "
    "cell is not decided, by its interval or since the machine was disturbed or not checked. The thick line is read from all "
    "lengths together: from it on the arm pays; at the left edge at every length. It is dashed "
    "where else it may lie (95 %). 'Never' beside a row: the arm pays at no length."
)

PANEL = Panel(
    title="Where does it pay? Speed-up by capacity and length",
    order=20,
    span=7,
    render=render,
    draws=True,
    reading=READING,
)
