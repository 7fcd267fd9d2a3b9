"""Axes: how their ticks are written, and those of ratios, where a ratio and its inverse lie equally far from 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Ticks of an axis of ratios, from far apart to close together: the first of these of which an axis shows so many are taken.
FEWEST = 3
_TICKS: tuple[tuple[float, ...], ...] = (
    tuple(4.0**power for power in range(-12, 13)),
    tuple(2.0**power for power in range(-6, 7)),
    (0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    *(
        tuple(round(step * i, 4) for i in range(1, round(4 / step)))
        for step in (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
    ),
)


def ticks(unit: str = "") -> Callable[[float, object], str]:
    """Return what writes the ticks of an axis: `0.5`, `2×`, `40 %`, `20k`, `3 M`.

    Args:
        unit: stands behind every tick but 0.
    """
    factor = {"%": 0.01, "k": 1e3, "M": 1e6}.get(unit, 1.0)
    behind = f" {unit}" if unit in {"%", "M"} else unit
    return lambda value, _: f"{value / factor:g}{behind}" if value else "0"


def name_rows(axes: Axes, names: Sequence[str], room: float = 0.4) -> None:
    """Name rows, the first on top, without a grid across them.

    Args:
        axes: where rows lie at 0, 1, 2 ….
        names: of the rows.
        room: below the last row; above the first so much that it adds up to 1.
    """
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - room, room - 1)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def ends_of(values: Iterable[float], room: float) -> tuple[float, float]:
    """Return the ends of an axis that shows these ratios and 1, with room at both as a factor."""
    known = [*values, 1.0]
    return min(known) / room, max(known) * room


def ratio_axis(axes: Axes, which: Literal["x", "y"], ends: tuple[float, float]) -> None:
    """Give an axis of ratios a log scale, these ends, and ticks such as `1.5×`."""
    low, high = ends
    seen = ([tick for tick in each if low <= tick <= high] for each in _TICKS)
    shown, written = next((each for each in seen if len(each) >= FEWEST), [low, high]), ticks("×")
    axes.set(**{f"{which}scale": "log", f"{which}lim": ends})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(shown, [written(tick, None) for tick in shown])
    axis.set_ticks([], minor=True)
