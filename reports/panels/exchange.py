"""Effective speed-ups: each arm's compute against that of a dense model with its loss, beside the plain speed-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import LOOKED_AHEAD
from modbench.reports.figures.axes import ends_of, ratio_axis
from modbench.reports.figures.style import HAIR, INK, MUTED, PAPER, Mark, Marks, look, new_figure
from modbench.reports.model import Block, Figure, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.questions import exchange
from modbench.reports.questions.exchange import CURRENCIES, Speedup
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Currencies side by side, and arms.
MOST_COLUMNS, MOST_ROWS = 4, 24


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw a mark with its interval for each arm and currency, but of illustrations, which would look like evidence."""
    made = exchange.best_sizes(exchange.speedups(loaded))
    if claims(made):
        yield _figure(loaded, made)
    if (found := exchange.table(loaded, made)) is not None:
        yield found
    yield from map(Note, exchange.lacking(loaded, made))


def claims(made: Sequence[Speedup]) -> bool:
    """Whether an arm has an effective speed-up that is more than an illustration."""
    return any(row.stated and not row.rate.illustration and not row.arm.check for row in made)


def _figure(loaded: Loaded, every: Sequence[Speedup]) -> Figure:
    by_arm = grouped((exchange.called(loaded, row.arm), row) for row in every)
    arms = [(plain(name), rows) for name, rows in by_arm.items() if any(row.stated for row in rows)]
    arms = subsample_evenly(arms, MOST_ROWS)
    stated = {row.metric.key for _, rows in arms for row in rows if row.stated}
    columns = [key for key in CURRENCIES if key in stated][:MOST_COLUMNS]
    made, axes = new_figure(12.0, 0.95 + 0.32 * len(arms), len(columns), share_y=True)
    marks = Marks()
    for axis, key in zip(axes, columns, strict=True):
        rows = {y: row for y, (_, those) in enumerate(arms) for row in those if row.stated and row.metric.key == key}
        ends = ends_of((value for row in rows.values() for value in _values(row)), room=1.12)
        ratio_axis(axis, "x", ends)
        axis.axvline(1, color=MUTED, linewidth=0.9)
        for y, row in rows.items():
            _mark(axis, arms[y][0], row, y, ends, marks)
        axis.set_title(f"speed-up in {next(iter(rows.values())).currency}")
        axis.hlines([y + 0.5 for y in range(len(arms) - 1)], *ends, color=HAIR, linewidth=0.5)
        axis.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(arms)), [name for name, _ in arms])
    axes[0].set_ylim(len(arms) - 0.5, -0.5)
    words = "Marks: the compute of a dense model with the arm's loss, over the arm's own; right of 1 the arm is the cheaper way "
    words += "to that loss. Grey crosses: the plain speed-up. {seeds}; hollow: top-k routing saw later tokens."
    caption = Sentence(words, seeds=seeds_in_words(loaded))
    data = exchange.TABLE.of(row for _, rows in arms for row in rows)
    return Figure("exchange", made, "Effective and plain speed-ups by arm", caption, data, wide=True, marks=marks)


def _values(row: Speedup) -> list[float]:
    found = (row.rate.value, row.rate.low, row.rate.high, row.plain.value)
    return [value for value in found if value is not None]


def _mark(axis: Axes, name: str, row: Speedup, y: int, ends: tuple[float, float], marks: Marks) -> None:
    """Draw the interval, with an arrow where an end is open, the mark if there is a number, and the plain speed-up."""
    style, found = look(row.arm.case), row.rate
    if not (found.illustration and found.kind == "rate"):
        low, high = (edge if end is None else end for end, edge in zip((found.low, found.high), ends, strict=True))
        axis.plot([low, high], [y, y], color=style.color, linewidth=1.6, alpha=style.opacity)
        for end, edge, glyph in zip((found.low, found.high), ends, "<>", strict=True):
            if end is None:
                axis.plot([edge], [y], glyph, color=style.color, markersize=6, alpha=style.opacity, clip_on=False)
    if found.value is None:
        (bound,) = (end for end in (found.low, found.high) if end is not None)
        (drawn,) = axis.plot([bound], [y], "|", color=style.color, markersize=9, markeredgewidth=1.6)
    else:
        face = PAPER if any(label in LOOKED_AHEAD for label in row.labels) else style.color
        (drawn,) = axis.plot([found.value], [y], style.marker, markersize=7, markerfacecolor=face)
        drawn.set(markeredgecolor=style.color if face == PAPER else INK, markeredgewidth=0.6, alpha=style.opacity)
    words = "{arm}: effective speed-up {found} in {currency}" + "; plain {plain}" * (row.plain.value is not None)
    said = Sentence(words, arm=name, found=row.found, currency=row.currency, plain=row.plain.alone)
    marks.name(drawn, Mark(plain(said), row.arm.case.arm))
    if row.plain.value is not None:
        axis.plot([row.plain.value], [y], "x", color=MUTED, markersize=6, markeredgewidth=1.2)


READING = (
    "For each arm that was trained: how much dense compute buys the loss that it has. 1.20 FLOPs means that a dense "
    "model needs 1.2 times as many FLOPs to get there, so that above 1 the arm saves compute. It is "
    "read off the curve of the dense models that were trained here. Where no dense model reaches that loss, or too "
    "few seeds were trained, there is no number but the reason: an arrow is an open end, and without a mark only a bound is "
    "known. The plain speed-up is that against dense of the same shape, whatever its loss. Where top-k routing saw later tokens, "
    "loss and speed-up flatter the arm."
)

PANEL = Panel(
    title="What would a dense model of the same loss cost?",
    order=31,
    span=12,
    render=render,
    draws=True,
    told=True,
    reading=READING,
    tables=[exchange.TABLE],
)
