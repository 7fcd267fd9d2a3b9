"""A small figure of ratios with their intervals, for notebooks: inline SVG that stands by itself, without the page's styles."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from modbench.reports.figures.ratio_axis import ends_of, ratio_axis
from modbench.reports.figures.style import HAIR, MUTED, PAPER, beside, new_figure, to_svg
from modbench.reports.wording.words import times, verdict_words

# Rows at most, and letters of a name.
MOST_ROWS, MOST_LETTERS = 12, 28
# An interval may leave the frame: one of a single noisy row would hide all the others.
ROOM = 1.25
_DECIDED = {"better", "worse", "equivalent"}
# Colours that can be read on a light ground and on a dark one; text has the notebook's own.
_COLOURS = {"ink": "currentColor", "muted": "#7d868f", "hair": "#9aa3ab55", "paper": "none", "series-1": "#2b87c8"}
_SERIES_1 = "#020501"


class Bar(NamedTuple):
    """One row of the figure.

    Attributes:
        name: what is compared.
        ratio: above 1 it is faster.
        low: lower end of the interval; None where there is none.
        high: upper end.
        verdict: its word; None: no claim.
    """

    name: str
    ratio: float
    low: float | None
    high: float | None
    verdict: str | None


def ratio_figure(bars: Sequence[Bar], baseline: str, margin: float) -> str:
    """Draw ratios against a baseline as one SVG element of some kilobytes; of many bars the first.

    Args:
        bars: at least one.
        baseline: its name.
        margin: differences below this do not matter: the shaded band.
    """
    shown = list(bars[:MOST_ROWS])
    # A notebook holds many figures, and a part of one must not refer to a part of another.
    identity = f"ratios-{hashlib.sha256(repr((shown, baseline, margin)).encode()).hexdigest()[:8]}"
    figure, (axis,) = new_figure(5.4, 0.62 + 0.2 * len(shown))
    figure.suptitle(f"speed-up over {_cut(baseline)}", x=0.01, ha="left", fontsize=8.5, color=MUTED)
    ratio_axis(axis, "x", ends_of([bar.ratio for bar in shown], ROOM))
    axis.axvspan(1 / (1 + margin), 1 + margin, color=HAIR, linewidth=0)
    axis.axvline(1, color=MUTED, linewidth=0.8)
    for y, bar in enumerate(shown):
        if bar.low is not None and bar.high is not None:
            axis.plot([bar.low, bar.high], [y, y], color=_SERIES_1, linewidth=1.4)
        face = _SERIES_1 if bar.verdict in _DECIDED else PAPER
        axis.plot([bar.ratio], [y], "o", markersize=5, markerfacecolor=face, markeredgecolor=_SERIES_1)
        beside(axis, y, f"{times(bar.ratio)}  {verdict_words(bar.verdict, 's')}")
    axis.set_yticks(range(len(shown)), [_cut(bar.name) for bar in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    label = "; ".join(f"{bar.name}: {times(bar.ratio)}" for bar in shown)
    svg = to_svg(figure, identity, f"Speed-up over {baseline}: {label}")
    svg = re.sub(r"var\(--([\w-]+)\)", lambda found: _COLOURS[found[1]], svg)
    return svg.replace("<svg ", '<svg style="max-width:34em" ', 1)


def _cut(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 9]}…{name[-8:]}"
