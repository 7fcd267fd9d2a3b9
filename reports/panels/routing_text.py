"""Text coloured by the number of routed blocks that each token used: a learned router beside a control."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pandas as pd
from markupsafe import Markup

from modbench.reports.figures.style import new_figure
from modbench.reports.model import Block, Figure, Note
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as routing
from modbench.reports.panels._routing import Arm
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.templates import fill

# Per cent of the arm's colour behind a token that used every block; with more, contrast would fall below 4.5 to 1.
FULL = 46
_SHOWN = {"\n": "↵\n", "\t": "⇥\t", "\r": "␍"}
TOP = 8


def render(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show a passage of held-out text for two arms; below, the decisions of each by block and position."""
    pair = _pair(loaded)
    if not pair:
        return
    yield fill("routing_text", arms=[_of_arm(arm) for arm in pair], top=TOP)
    yield from (_map(arm, arm.first["matrix"]) for arm in pair)
    yield Note(
        "One held-out window of the first seed, routed by top-k as in training. The stronger a token's background, the more "
        "routed blocks it used; hover over it for the number. Vertical bands in the map: positions that most blocks agree on."
    )


def _pair(loaded: Loaded) -> list[Arm]:
    """Return the arm to show and its first control; empty if nothing is routed."""
    arms = routing.arms_of(loaded)
    focus = routing.focus_of(arms)
    return [] if focus is None else [focus, *routing.controls_of(arms, focus)[:1]]


def _of_arm(arm: Arm) -> dict[str, object]:
    matrix = arm.first["matrix"]
    layers = len(matrix["layers"])
    return {
        "name": arm.name,
        "glyph": arm.look.glyph,
        "series": arm.look.series,
        "layers": layers,
        "strength": [round(FULL * n / layers) for n in range(layers + 1)],
        "passage": _passage(matrix),
        "words": arm.first["words"],
    }


def _passage(matrix: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the text in runs of tokens that used the same number of blocks."""
    runs = groupby(zip(matrix["used"], matrix["pieces"], strict=True), key=lambda pair: pair[0])
    return [
        (used, "".join("".join(_SHOWN.get(letter, letter) for letter in piece) for _, piece in run))
        for used, run in runs
    ]


def _map(arm: Arm, matrix: dict[str, Any]) -> Figure:
    """Draw runs of passing positions as bars: a row per routed block, the deepest on top."""
    rows, layers = matrix["rows"], matrix["layers"]
    made, (axis,) = new_figure(6.2, 0.75 + 0.22 * len(rows))
    for y, row in enumerate(rows):
        runs, start = [], 0
        for passed, run in groupby(row):
            length = len(list(run))
            if passed == "1":
                runs.append((start - 0.5, length))
            start += length
        axis.broken_barh(runs, (y - 0.42, 0.84), facecolors=arm.look.color, linewidth=0)
    axis.set_yticks(range(len(layers)), [f"block {layer}" for layer in layers])
    axis.set_xlim(-0.5, len(rows[0]) - 0.5)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.grid(visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(f"position in the window of {matrix['of']} tokens")
    data = [
        {"arm": arm.case.arm, "block": layer, "position": position, "passed": passed == "1"}
        for layer, row in zip(layers, rows, strict=True)
        for position, passed in enumerate(row)
    ]
    label, reading = f"Which positions passed each routed block of {arm.name}", _reading(matrix["used"], len(layers))
    return Figure(f"matrix-{arm.case.arm}", made, label, reading, pd.DataFrame(data), wide=True, least=440)


def _reading(used: list[int], layers: int) -> str:
    counts = [used.count(n) for n in range(layers + 1)]
    parts = [
        f"{count} used {'none' if n == 0 else 'all ' + str(n) if n == layers else n}" for n, count in enumerate(counts)
    ]
    return f"Of {len(used)} tokens, by routed blocks: {', '.join(parts)}."


READING = (
    "The passage is held-out text. The stronger a token's background, the more of the blocks that may be skipped it "
    "went through. One passage is an example: the panels below count over all held-out tokens."
)

PANEL = Panel(title="Which words go deep?", order=62, span=12, render=render, draws=True, reading=READING)
