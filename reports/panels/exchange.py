"""Effective speed-ups: each arm's compute against that of a dense model with its loss, beside the plain speed-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modbench.harness.core.labels import LOOKED_AHEAD
from modbench.reports.figures.axes import ends_of, ratio_axis
from modbench.reports.figures.style import HAIR, INK, MUTED, PAPER, Mark, Marks, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.questions import exchange
from modbench.reports.questions.exchange import CURRENCIES, Exchange, Price
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording import short
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Currencies side by side, and the order in which they are taken.
MOST_COLUMNS, MOST_ROWS = 4, 24
FIRST = ("flops/train_step", "latency/train_step", "flops/forward", "latency/forward")


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw a mark with its interval for each arm and currency; say in sentences what is an illustration, or not there."""
    made = exchange.exchanges(loaded)
    arms, checks = exchange.arms_and_checks(made)
    rows = subsample_evenly([*arms, *checks], MOST_ROWS) if arms else []
    # A figure of illustrations would look like evidence.
    drawn = any(not price.rate.illustration for each in arms for price in each.stated)
    yield from map(Note, exchange.without_rate(made) if drawn else exchange.sentences(loaded, made))
    if drawn:
        yield _figure(loaded, rows)
    if rows:
        yield exchange.numbers(rows)


def _figure(loaded: Loaded, arms: Sequence[Exchange]) -> Figure:
    marks = Marks()
    stated = {price.metric.key for each in arms for price in each.stated}
    columns = [key for key in dict.fromkeys((*FIRST, *CURRENCIES)) if key in stated][:MOST_COLUMNS]
    made, axes = new_figure(12.0, 0.95 + 0.32 * len(arms), len(columns), share_y=True)
    for axis, key in zip(axes, columns, strict=True):
        _draw(axis, arms, key, marks)
    axes[0].set_yticks(range(len(arms)), [_arm_label(each, arms) for each in arms])
    axes[0].set_ylim(len(arms) - 0.5, -0.5)
    hollow = any(label in LOOKED_AHEAD for each in arms for price in each.stated for label in price.labels)
    words = "Marks: the compute of a dense model with the arm's loss, over the arm's own; right of 1 the arm is the cheaper way "
    words += "to that loss. Grey crosses: the plain speed-up. {seeds}"
    caption = Sentence(words + "; hollow: top-k routing saw later tokens" * hollow + ".", seeds=seeds_in_words(loaded))
    label = "Effective and plain speed-ups by arm"
    return Figure("exchange", made, label, caption, exchange.table(loaded, arms), wide=True, marks=marks)


def _arm_label(each: Exchange, arms: Sequence[Exchange]) -> str:
    """Name in the figure; with the budget where there are several."""
    several = len({other.case.budget for other in arms}) > 1 and each.case.budget
    budget = Estimate(each.case.budget, kind="budget")
    return plain(Sentence("{arm}" + ", {budget}" * bool(several), arm=exchange.called(each), budget=budget))


def _draw(axis: Axes, arms: Sequence[Exchange], key: str, marks: Marks) -> None:
    found = ((y, each, price) for y, each in enumerate(arms) for price in each.stated if price.metric.key == key)
    prices = list(found)
    ends = ends_of((value for *_, price in prices for value in _values(price)), room=1.12)
    ratio_axis(axis, "x", ends)
    axis.axvline(1, color=MUTED, linewidth=0.9)
    for y, each, price in prices:
        _mark(axis, each, price, y, ends, marks)
    axis.set_title(f"speed-up in {prices[0][2].currency}")
    axis.hlines([y + 0.5 for y in range(len(arms) - 1)], *ends, color=HAIR, linewidth=0.5)
    axis.grid(visible=False, axis="y")


def _values(price: Price) -> list[float]:
    found = (price.rate.value, price.rate.low, price.rate.high, price.plain.value)
    return [value for value in found if value is not None]


def _mark(axis: Axes, each: Exchange, price: Price, y: int, ends: tuple[float, float], marks: Marks) -> None:
    """Draw the interval, with an arrow where an end is open, the mark if there is a number, and the plain speed-up."""
    style, found, said = look(each.case), price.rate, Mark(_hover_text(each, price), each.case.arm)
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
        face = PAPER if any(label in LOOKED_AHEAD for label in price.labels) else style.color
        (drawn,) = axis.plot([found.value], [y], style.marker, markersize=7, markerfacecolor=face)
        drawn.set(markeredgecolor=style.color if face == PAPER else INK, markeredgewidth=0.6, alpha=style.opacity)
    marks.name(drawn, said)
    if price.plain.value is not None:
        axis.plot([price.plain.value], [y], "x", color=MUTED, markersize=6, markeredgewidth=1.2)


def _hover_text(each: Exchange, price: Price) -> str:
    """What a mark says on hover."""
    beside = "; plain {plain}" * (price.plain.value is not None)
    said = Sentence(
        "{arm}{where}: effective speed-up {speedup} in {currency}" + beside,
        arm=short(each.case),
        where=each.where,
        speedup=price.speedup,
        currency=price.currency,
        plain=price.plain.alone,
    )
    return plain(said)


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
    reading=READING,
    tables={"exchange": exchange.table},
)
