"""Effective speed-ups: each arm's compute against that of a dense model with its loss, beside the plain speed-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.harness.core.labels import LOOKED_AHEAD
from modbench.harness.stats.exchange import Rate
from modbench.reports import exchange_words
from modbench.reports.exchange import Exchange, exchanges
from modbench.reports.exchange_prices import CURRENCIES, Price
from modbench.reports.exchange_words import currency, interval_in_words, rate_in_words
from modbench.reports.isoflop import in_flops
from modbench.reports.load import Loaded, evenly
from modbench.reports.panel import Panel, figure, seeds_in_words, times
from modbench.reports.style import HAIR, INK, MUTED, look, new_figure, short, to_svg
from modbench.reports.templates import fill

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Currencies side by side, and the order in which they are taken.
MOST_COLUMNS, MOST_ROWS = 4, 24
FIRST = ("flops/train_step", "latency/train_step", "flops/forward", "latency/forward")
HEAD = ("Arm", "In", "Effective speed-up", "95 % interval", "Plain speed-up", "Seeds", "Launches", "Loss")


def render(loaded: Loaded) -> Markup | None:
    """Draw a mark with its interval for each arm and currency; say in sentences what is an illustration, or not there."""
    made = exchanges(loaded)
    stated = [each for each in exchange_words.best_sizes(made) if each.stated]
    arms, checks = ([each for each in stated if each.check == check] for check in (False, True))
    shown = evenly([*arms, *checks], MOST_ROWS) if arms else []
    drawn = any(not price.rate.illustration for each in arms for price in each.stated)
    sentences = exchange_words.without_rate(made) if drawn else exchange_words.in_words(loaded, made)
    if not shown and not sentences:
        return None
    picture, rows = _figure(loaded, shown) if drawn else None, [row for each in shown for row in _rows(each)]
    return fill("exchange", sentences=sentences, figure=picture, head=HEAD, rows=rows)


def _figure(loaded: Loaded, arms: Sequence[Exchange]) -> Markup:
    stated = {price.metric.key for each in arms for price in each.stated}
    columns = [key for key in dict.fromkeys((*FIRST, *CURRENCIES)) if key in stated][:MOST_COLUMNS]
    made, axes = new_figure(12.0, 0.95 + 0.32 * len(arms), len(columns), share_y=True)
    for axis, key in zip(axes, columns, strict=True):
        _draw(axis, arms, key)
    axes[0].set_yticks(range(len(arms)), [_called(each, arms) for each in arms])
    axes[0].set_ylim(len(arms) - 0.5, -0.5)
    reading = (
        "Marks: the compute of a dense model with the arm's loss, over the arm's own, with its 95 % interval. Right of 1 the arm "
        "is the cheaper way to that loss. A bar with an arrow: its loss lies outside the dense ladder: a bound is known. "
        "Grey crosses: the plain speed-up, against dense of the same shape and whatever its loss. "
        f"{seeds_in_words(loaded)}{_hollow(arms)}. See exchange.csv."
    )
    label = "Effective and plain speed-ups by arm"
    return figure(to_svg(made, "exchange", label), reading, wide=True)


def _called(each: Exchange, arms: Sequence[Exchange]) -> str:
    """Name in the figure; with the budget where there are several."""
    said = short(each.case) + " (check)" * each.check
    if len({other.case.budget for other in arms}) > 1 and each.case.budget:
        said += f", {in_flops(each.case.budget).split()[0]}"
    return said


def _hollow(arms: Sequence[Exchange]) -> str:
    if any(label in LOOKED_AHEAD for each in arms for price in each.stated for label in price.labels):
        return "; hollow marks: top-k routing saw later tokens, so that loss and speed-up flatter the arm"
    return ""


def _draw(axis: Axes, arms: Sequence[Exchange], key: str) -> None:
    prices = [next((price for price in each.stated if price.metric.key == key), None) for each in arms]
    values = [1.0, *(value for price in prices if price for value in _values(price))]
    low, high = min(values) / 1.12, max(values) * 1.12
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.axvline(1, color=MUTED, linewidth=0.9)
    for y, (each, price) in enumerate(zip(arms, prices, strict=True)):
        if price is not None:
            _mark(axis, each, price, price.rate, y, (low, high))
    title = next(currency(price) for price in prices if price is not None)
    axis.set_title(f"speed-up in {title}")
    ticks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50) if low <= t <= high]
    while len(ticks) > 6:
        ticks = ticks[::2] if 1 in ticks[::2] else ticks[1::2]
    axis.xaxis.set_ticks(ticks, [f"{tick:g}×" for tick in ticks])
    axis.xaxis.set_ticks([], minor=True)
    axis.grid(visible=False, axis="y")


def _values(price: Price) -> list[float]:
    found = (price.rate.value, price.rate.low, price.rate.high, price.plain.ratio)
    return [value for value in found if value is not None]


def _mark(axis: Axes, each: Exchange, price: Price, found: Rate, y: int, limits: tuple[float, float]) -> None:
    """Draw the interval, with an arrow where an end is open, the mark if there is a number, and the plain speed-up."""
    style, illustrated = look(each.case), found.illustration and found.kind == "rate"
    if not illustrated:
        low, high = (limits[i] if end is None else end for i, end in enumerate((found.low, found.high)))
        axis.plot([low, high], [y, y], color=style.color, linewidth=1.6, alpha=style.opacity)
        for end, place, glyph in ((found.low, limits[0], "<"), (found.high, limits[1], ">")):
            if end is None:
                axis.plot([place], [y], glyph, color=style.color, markersize=6, alpha=style.opacity, clip_on=False)
        if found.kind != "rate":
            (bound,) = (end for end in (found.low, found.high) if end is not None)
            axis.plot([bound], [y], "|", color=style.color, markersize=9, markeredgewidth=1.6)
    if found.value is not None:
        face = "none" if any(label in LOOKED_AHEAD for label in price.labels) else style.color
        (mark,) = axis.plot([found.value], [y], style.marker, markersize=7, markerfacecolor=face)
        mark.set(markeredgecolor=style.color if face == "none" else INK, markeredgewidth=0.6, alpha=style.opacity)
    if price.plain.ratio is not None:
        axis.plot([price.plain.ratio], [y], "x", color=MUTED, markersize=6, markeredgewidth=1.2)
    axis.axhline(y + 0.5, color=HAIR, linewidth=0.5)


def _rows(each: Exchange) -> list[tuple[str, ...]]:
    return [
        (
            short(each.case) + " (check)" * each.check,
            currency(price),
            rate_in_words(found) + " (illustration)" * found.illustration,
            interval_in_words(found) or "–",
            "–" if price.plain.ratio is None else times(price.plain.ratio),
            str(found.seeds),
            str(found.launches) if found.launches else "counted",
            each.loss,
        )
        for price in each.stated
        for found in [price.rate]
    ]


PANEL = Panel(title="What would a dense model of the same loss cost?", order=31, span=12, render=render)
