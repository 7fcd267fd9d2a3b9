"""Which capacity at which length? Four maps of capacity × length, over dense of the same shape and over the matched baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from modbench.extend import (
    GLYPHS,
    WORKLOADS,
    Block,
    Case,
    Figure,
    Finding,
    Lead,
    Loaded,
    Marks,
    Section,
    Sentence,
    Value,
    columns_of,
    first_screen,
    grouped,
    half,
    headline,
    heat_cell,
    heat_map,
    losses,
    new_figure,
    plain,
    style,
)
from modbench.plugins.map import question as capacity_map
from modbench.plugins.map.question import Side, Spot, asked, beside, loss_of, row_name, share, sides, spots

# Of the figure, in inches: what stands beside the names of rows, a cell, a row, and what a map has above and below its rows.
BESIDE, ROW, AROUND = 0.22, 0.31, 0.56
# Least width of a cell, and what all cells of a row share if they can be wider.
CELL, SHARED = 0.47, 4.6
# Width of a figure in pixels from which the two stand side by side.
LEAST = 420
COLUMNS = 2
# What is drawn of all that was counted.
COUNTED = {"flops/forward": "forward FLOPs, %", "memory/peak_allocated": "peak memory, %"}
# Size of numbers in points.
RATIOS, LOSSES = 8.5, 7.5


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw both figures side by side; the terminal's table is folded below."""
    made = capacity_map.in_place(loaded)
    if made is not None:
        yield from (_figure(loaded, side) for side in sides(loaded))
        yield from (replace(each, label="as a table", folded=True, notes=made.notes) for each in made.tables[:1])


def four(loaded: Loaded) -> dict[str, str]:
    """Return what is drawn, with titles: a time, FLOPs, memory and the loss, each where it was asked for."""
    times = {metric: f"{title.removesuffix(' pass')} time" for metric, title in asked(loaded, WORKLOADS).items()}
    loss = loss_of(loaded)
    return dict([*times.items()][:1]) | asked(loaded, COUNTED) | {loss.metric: f"loss, {loss.unit}"}


def _figure(loaded: Loaded, side: Side) -> Figure:
    shown, cost = four(loaded), side == "matched"
    rows = grouped((row_name(loaded, spot.case), spot) for spot in spots(loaded) if spot.matched or not cost)
    lengths = [spot.length for spot in next(iter(rows.values()))]
    down = -(-len(shown) // COLUMNS)
    width = (
        BESIDE + max(map(len, rows)) * style.LETTER * RATIOS / style.POINTS + max(SHARED, COLUMNS * CELL * len(lengths))
    )
    figure, axes = new_figure(width, down * (AROUND + ROW * len(rows)), len(shown), share_y=True, rows=down)
    base: Value = "dense of equal FLOPs" if cost else first_screen.described(loaded.baseline)
    headline(figure, plain(Sentence("over {base}", base=base)))
    marks, data = Marks(), list[dict[str, object]]()
    for axis, (metric, title) in zip(axes, shown.items(), strict=True):
        cells = [[_cell(spot, side, metric, title) for spot in row] for row in rows.values()]
        size = LOSSES if metric == loss_of(loaded).metric else RATIOS
        heat_map.draw(axis, cells, [str(length) for length in lengths], marks, size)
        axis.set_title(title)
        grid_point = axis.get_subplotspec()
        assert grid_point is not None, "it is one of several"
        axis.set_xlabel("tokens per sequence" * grid_point.is_last_row())
        axis.set_ylabel("capacity" * grid_point.is_first_col())
        axis.set_yticks([i + 0.5 for i in range(len(rows))], [*rows])
        data += [_datum(spot, beside(spot, metric, side)) for row in rows.values() for spot in row]
    words = (
        "Purple and ▲ better, orange and ▼ worse. Time: speed-up over dense; FLOPs, memory: % of dense's; loss: minus "
        "dense's, {seeds}. ± half the 95 % CI."
    )
    caption = Sentence(words, seeds=losses.seeds_in_words(loaded))
    label = "Time, FLOPs, memory and loss by capacity and sequence length, over "
    label += "dense of equal FLOPs" if cost else "the baseline"
    return Figure("map" + "-cost" * cost, figure, label, caption, pd.DataFrame(data), marks=marks, least=LEAST)


def _cell(spot: Spot, side: Side, metric: str, title: str) -> heat_map.Cell:
    found = beside(spot, metric, side)
    of_loss = found.typical.kind == "difference"
    if of_loss:
        color = style.bin_of_share(share(spot.loaded, spot.over[side][metric]).value, found.verdict)
    else:
        color = style.bin_of(found.typical.value or 1.0, found.verdict)
    below = [GLYPHS.get(found.verdict or "", ""), half(found.typical, 3 if of_loss else 2)]
    return heat_cell(spot.case, spot.length, title, found, color, " ".join(filter(None, below)))


def _datum(spot: Spot, found: Finding) -> dict[str, object]:
    typical, other = found.typical, found.against
    return {
        "variant": spot.case.variant,
        "capacity": spot.case.config.capacity,
        "seq_len": spot.length,
        "baseline_variant": other.variant if isinstance(other, Case) else None,
        "metric": found.metric,
        "unit": typical.unit if typical.kind == "difference" else "ratio",
        **columns_of(typical),
        "verdict": found.verdict,
        "status": found.status,
        "reason": found.reason,
    }


READING = (
    "Each cell compares a variant with dense: on the left of the same shape, on the right of equal FLOPs. A loss whose CI lies "
    "within 1.5 % of dense's is equivalent."
)

SECTION = Section(
    title="Which capacity at which length?",
    order=3,
    span=12,
    render=render,
    draws=True,
    told=True,
    reading=READING,
    tables=[capacity_map.TABLE],
    lead=Lead(answer=capacity_map.answer, in_place=capacity_map.in_place),
)
