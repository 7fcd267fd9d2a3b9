"""Bytes by kind, measured beside forecast: the peak of a training step, and the cache of a decoding model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.core.units import scale_of
from modbench.harness.domain.case import ELEMENT_BYTES, Case
from modbench.harness.domain.notes import MemoryNotes
from modbench.reports.blocks import Estimate, Figure, Sentence
from modbench.reports.figures.axes import name_rows
from modbench.reports.figures.style import MUTED, PAPER, Mark, Marks, beside, headline, in_lines, look, new_figure
from modbench.reports.markup.number_format import grid_point, plain
from modbench.reports.section import Section
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PEAK, CACHE = "memory/peak_allocated", "memory/kv_cache"
PARAMETERS, OPTIMIZER, ACTIVATIONS, KEYS = "parameters", "optimizer", "activations", "keys and values"
# What a peak holds beyond the kinds that are known: gradients that already exist, and what operators need for a moment.
REST, MORE_REST, MOST_REST = "gradients, workspace", "activations, gradients, workspace", "everything else"


# A measured value this close to its forecast is as forecast.
AS_FORECAST = 0.01


@dataclass(frozen=True)
class Bar:
    """Bytes by kind, in the order in which they are drawn.

    Attributes:
        case: the variant.
        measured: kind to bytes; they add up to what was measured.
        forecast: the same for the forecast; empty where there is none.
    """

    case: Case
    measured: dict[str, float]
    forecast: dict[str, float]

    @property
    def total(self) -> float:
        """Bytes that were measured."""
        return sum(self.measured.values())

    @property
    def off(self) -> Estimate | None:
        """By how much the measured bytes exceed the forecast, as a share of it; None where there is no forecast."""
        expected = sum(self.forecast.values())
        return Estimate(self.total / expected - 1, kind="difference", unit="%") if expected else None


def of_training(loaded: Loaded, variant: str, seq_len: int) -> Bar | None:
    """Return the peak of a training step by kind; None if it was not measured."""
    row = loaded.case(variant, PEAK, seq_len)
    if row is None or row.status != "ok" or not row.value:
        return None
    case = loaded.cases_by_id[str(row.case_id)]
    counted = (loaded.tables.counted(case).params or 0) * ELEMENT_BYTES[case.grid_point.dtype]
    parameters = loaded.value(variant, "memory/parameters", seq_len) or counted
    # AdamW keeps two moments of every parameter; of a user's model some may be frozen.
    moments = None if case.is_user_model else 2 * parameters
    kinds = {
        PARAMETERS: parameters,
        OPTIMIZER: loaded.value(variant, "memory/optimizer", seq_len) or moments,
        ACTIVATIONS: loaded.value(variant, "memory/activations", seq_len),
    }
    expected = kinds | {ACTIVATIONS: _forecast(loaded, case, "memory/activations")}
    return Bar(case, stacked(float(row.value), kinds), stacked(_forecast(loaded, case, PEAK), expected))


def of_caches(loaded: Loaded, seq_len: int) -> list[Bar]:
    """Return the bytes of the caches of keys and values, of the variants that are shown, at the largest batch."""
    rows = loaded.cases[(loaded.cases.metric == CACHE) & (loaded.cases.seq_len == seq_len) & (loaded.cases.value > 0)]
    rows = rows[rows.batch_size == rows.batch_size.max()].drop_duplicates("variant")
    found = {row.variant: (loaded.cases_by_id[row.case_id], float(row.value)) for row in rows.itertuples(index=False)}
    shown = (found[case.variant] for case in loaded.shown if case.variant in found)
    forecasts = ((case, size, _forecast(loaded, case, CACHE)) for case, size in shown)
    return [Bar(case, {KEYS: size}, {KEYS: forecast} if forecast else {}) for case, size, forecast in forecasts]


def _forecast(loaded: Loaded, case: Case, metric: str) -> float | None:
    notes = loaded.tables.notes_of(case, metric, MemoryNotes)
    return next((each.forecast for each in notes if each.forecast), None)


def stacked(total: float | None, kinds: dict[str, float | None]) -> dict[str, float]:
    """Divide a total into the kinds that are known and the rest; undivided if they exceed it, empty if it is not known."""
    if not total:
        return {}
    known = {kind: number for kind, number in kinds.items() if number}
    rest = REST if ACTIVATIONS in known else MORE_REST if OPTIMIZER in known else MOST_REST
    left = total - sum(known.values())
    return {**known, rest: left} if left >= 0 else {MOST_REST: total}


# How strong the colour of a kind is; the order of the stack.
_STRENGTH = {
    PARAMETERS: 1.0,
    KEYS: 1.0,
    OPTIMIZER: 0.7,
    ACTIVATIONS: 0.42,
    REST: 0.18,
    MORE_REST: 0.3,
    MOST_REST: 0.3,
}


def render(loaded: Loaded) -> Iterator[Figure]:
    """Draw the bars at the longest length."""
    if not loaded.lengths or loaded.sizes_differ:
        return
    at = loaded.lengths[-1]
    if steps := [bar for case in loaded.shown if (bar := of_training(loaded, case.variant, at)) is not None]:
        title = f"peak of a training step in {{}}, {grid_point('T', at)} (lower is better)"
        about = "Peak memory of a training step by variant and kind"
        yield _figure("memory", steps, title, about, "peak of one training step")
    if caches := of_caches(loaded, at):
        batch = grid_point("B", caches[0].case.grid_point.batch_size)
        title = f"cache in {{}}, {grid_point('T', at)}, {batch} (lower is better)"
        about = "Bytes of keys and values by variant"
        yield _figure("memory-cache", caches, title, about, "keys and values that the cache holds")


def _figure(identity: str, bars: Sequence[Bar], title: str, about: str, what: str) -> Figure:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    factor, unit = scale_of(max(bar.total for bar in bars), "B")
    kinds = [kind for kind in _STRENGTH if any(kind in bar.measured or kind in bar.forecast for bar in bars)]
    made, (axis,) = new_figure(4.6, 0.75 + 0.3 * len(bars) + 0.2 * (len(kinds) > 1))
    headline(made, title.format(unit))
    marks = Marks()
    _draw(axis, bars, factor, marks)
    name_rows(axis, [in_lines(bar.case) for bar in bars])
    axis.margins(x=0.02)
    for y, bar in enumerate(bars):
        far = bar.off is not None and abs(bar.off.value or 0.0) > AS_FORECAST
        words = "{total}" + ", {off} on forecast" * far
        beside(axis, y, plain(Sentence(words, total=Estimate(bar.total, unit="B"), off=bar.off)))
    if len(kinds) > 1:
        handles = [Patch(facecolor=to_rgba(MUTED, _STRENGTH[kind]), label=kind) for kind in kinds]
        made.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8, labelcolor=MUTED, handlelength=1.2)
    data = [
        {"case_id": bar.case.id, "variant": bar.case.variant, "seq_len": bar.case.grid_point.seq_len, "kind": kind}
        | {"measured_B": bar.measured.get(kind), "forecast_B": bar.forecast.get(kind)}
        for bar in bars
        for kind in dict.fromkeys((*bar.measured, *bar.forecast))
    ]
    caption = f"Bytes by kind: {what}. Thin bars: predicted by the closed form."
    return Figure(identity, made, about, caption, pd.DataFrame(data), marks=marks, least=360)


def _draw(axis: Axes, bars: Sequence[Bar], factor: float, marks: Marks) -> None:
    """Draw what was measured, its parts named, and the narrower forecast below it."""
    from matplotlib.colors import to_rgba

    for y, bar in enumerate(bars):
        for parts, at, height, edge in ((bar.measured, y - 0.1, 0.56, 0.8), (bar.forecast, y + 0.33, 0.14, 0.4)):
            left = 0.0
            for kind, size in ((kind, size) for kind, size in parts.items() if size):
                color = to_rgba(look(bar.case).color, _STRENGTH[kind])
                (drawn,) = axis.barh(at, size / factor, height, left, color=color, edgecolor=PAPER, linewidth=edge)
                left += size / factor
                if parts is bar.measured:
                    said = f"{short(bar.case)}, {kind}: {plain(Estimate(size, unit='B'))}"
                    marks.name(drawn, Mark(said, bar.case.variant))


READING = (
    "The most that a training step held at a time, by kind, or the keys and values that decoding keeps. Parameters and the two "
    "numbers that the optimizer keeps for each may be counted, not measured."
)

SECTION = Section(title="How much memory does it take?", order=43, span=12, render=render, draws=True, reading=READING)
