"""Which capacity at which length? Four maps of capacity × length, over dense of the same shape and over dense of equal cost."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from modbench.harness.domain.case import Case
from modbench.reports.figures.heat_map import HeatCell, draw_heat_map
from modbench.reports.figures.style import LETTER, POINTS, Marks, bin_of, bin_of_share, headline, new_figure
from modbench.reports.model import Block, Estimate, Figure, Finding, Kind, Sentence, Value
from modbench.reports.panel import Lead, Panel
from modbench.reports.panels.speedup_map import said_on_hover
from modbench.reports.questions import map as capacity_map
from modbench.reports.questions.first_screen import described
from modbench.reports.questions.map import Map, Quantity, row_name
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.writers.number_format import NONE, half, plain
from modbench.reports.writers.short import GLYPHS

# Of the figure, in inches: what stands beside the names of rows, a cell, a row, and what a map has above and below its rows.
BESIDE, CELL, ROW, AROUND = 0.22, 0.47, 0.31, 0.56
# Width of a figure in pixels from which the two stand side by side.
LEAST = 420
COLUMNS = 2
# Of what is counted.
DRAWN = {"flops/forward", "memory/peak_allocated"}
# Size of numbers in points.
RATIOS, LOSSES = 8.5, 7.5


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw both figures side by side; the numbers are folded below."""
    made = capacity_map.of(loaded)
    if made is None:
        return
    for equal_cost in (False, True) if made.ladder else (False,):
        yield _figure(made, equal_cost=equal_cost)
    yield from capacity_map.full_tables(made)


def four(made: Map) -> list[Quantity]:
    """Return what is drawn: a time, FLOPs, memory and the loss, each where it was asked for."""
    counts = [quantity for quantity in made.counts if quantity.metric in DRAWN]
    return [*made.times[:1], *counts, made.loss]


def _figure(made: Map, *, equal_cost: bool) -> Figure:
    shown, lengths, arms = four(made), made.lengths, made.compared(equal_cost=equal_cost)
    names = [row_name(made, case) for case in arms]
    rows = -(-len(shown) // COLUMNS)
    figure, axes = new_figure(
        BESIDE + max(map(len, names)) * LETTER * RATIOS / POINTS + COLUMNS * CELL * len(lengths),
        rows * (AROUND + ROW * len(arms)),
        len(shown),
        share_y=True,
        rows=rows,
    )
    base: Value = "dense of equal cost" if equal_cost else described(made.base)
    headline(figure, plain(Sentence("over {base}", base=base)))
    marks, data = Marks(), list[Finding]()
    for axis, quantity in zip(axes, shown, strict=True):
        found = [made.row(case, quantity, equal_cost=equal_cost) for case in arms]
        cells = [
            [_cell(made, quantity, case, length, each) for length, each in zip(lengths, row, strict=True)]
            for case, row in zip(arms, found, strict=True)
        ]
        draw_heat_map(axis, cells, [str(length) for length in lengths], marks, LOSSES if quantity.loss else RATIOS)
        axis.set_title(f"{quantity.title} time" if quantity in made.times else quantity.title)
        place = axis.get_subplotspec()
        assert place is not None, "it is one of several"
        axis.set_xlabel("tokens per sequence" * place.is_last_row())
        axis.set_ylabel("capacity" * place.is_first_col())
        axis.set_yticks([i + 0.5 for i in range(len(arms))], names)
        data += [each for row in found for each in row]
    words = "Purple and ▲ better, orange and ▼ worse, ≈ equal, ? undecided. " * any(each.verdict for each in data)
    words += (
        "Time, FLOPs, memory: dense's ÷ the arm's; loss: the arm's minus dense's, {seeds}. ± half the 95 % interval."
    )
    caption = Sentence(words, seeds=seeds_in_words(made.loaded))
    label = "Time, FLOPs, memory and loss by capacity and sequence length, over " + (
        "dense of equal cost" if equal_cost else "the anchor"
    )
    return Figure(
        "map-cost" if equal_cost else "map",
        figure,
        label,
        caption,
        pd.DataFrame(map(_datum, data)),
        marks=marks,
        least=LEAST,
    )


def _cell(made: Map, quantity: Quantity, case: Case, length: int, found: Finding) -> HeatCell:
    mark = said_on_hover(case, length, quantity.title, found)
    value = found.typical.value
    if value is None:
        return HeatCell(None, "failed" if found.status == "failed" else NONE, "", False, mark)
    kind: Kind = "difference" if quantity.loss else "fraction"
    text = plain(Estimate(value, kind=kind, unit=found.typical.unit))
    spread = half(found.typical, 3 if quantity.loss else 2)
    color = bin_of_share(made.share(found, value), found.verdict) if quantity.loss else bin_of(value, found.verdict)
    below = " ".join(filter(None, [GLYPHS.get(found.verdict or "", ""), spread]))
    return HeatCell(color, text, below, hatched=False, mark=mark)


def _datum(found: Finding) -> dict[str, object]:
    typical, other = found.typical, found.against
    return {
        "arm": found.case.arm,
        "capacity": found.case.config.capacity,
        "seq_len": found.place.seq_len,
        "baseline_arm": other.arm if isinstance(other, Case) else None,
        "metric": found.metric,
        "unit": typical.unit if typical.kind == "difference" else "ratio",
        **columns_of(typical),
        "verdict": found.verdict,
        "status": found.status,
        "reason": found.reason,
    }


READING = (
    "Each row is a capacity, each column a length. First an arm is compared with the dense model of its shape, then with a "
    "smaller dense model that needs as many FLOPs, which is the alternative to skipping tokens. Purple and ▲ are better, orange "
    "and ▼ worse, in all maps alike; a stronger colour is a larger difference (time, FLOPs and memory up to a factor of two, "
    "loss up to 4 %). Grey: no direction is shown. A capacity pays at a length if it is better in time or loss than dense of "
    "equal cost, and better or equal in the other; a loss whose interval lies within 1.5 % of it counts as equal."
)

PANEL = Panel(
    title="Which capacity at which length?",
    order=3,
    span=12,
    render=render,
    draws=True,
    told=True,
    reading=READING,
    tables={"map": capacity_map.table},
    lead=Lead(answer=capacity_map.answer, in_place=capacity_map.in_place),
)
