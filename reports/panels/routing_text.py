"""Text coloured by the number of routed blocks that each token used: a learned router beside a control."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pandas as pd
from markupsafe import Markup

from modbench.reports.figures.style import new_figure
from modbench.reports.model import Block, Code, Estimate, Figure, Listed, Sentence, Value
from modbench.reports.panel import Panel
from modbench.reports.questions import routing
from modbench.reports.questions.routing import Arm
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.html import fill, inline

# Per cent of the arm's colour behind a token that used every block; with more, contrast would fall below 4.5 to 1.
FULL = 46
_SHOWN = {"\n": "¶\n", "\t": "→\t", "\r": "\\r"}
TOP = 8


def render(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show a passage of held-out text for two arms; below, the decisions of each by block and position."""
    pair = routing.shown(routing.arms_of(loaded))[:2]
    if not pair:
        return
    yield fill("routing_text", arms=[_of_arm(arm) for arm in pair])
    yield from (_map(arm, arm.first["matrix"]) for arm in pair)


def _of_arm(arm: Arm) -> dict[str, object]:
    matrix = arm.first["matrix"]
    layers = len(matrix["layers"])
    return {
        "name": name(arm.case),
        "look": arm.look,
        "layers": layers,
        "strength": [round(FULL * n / layers) for n in range(layers + 1)],
        "passage": _passage(matrix),
        "words": _words(arm.first["words"]),
    }


def _words(found: dict[str, Any]) -> Markup:
    if not found["deep"]:
        return Markup()
    return inline(
        Sentence(
            "Deepest words: {deep}. Shallowest: {shallow}. Share of routed blocks used, of {words} words that occur {least} "
            "times or more.",
            deep=_shares(found["deep"][:TOP]),
            shallow=_shares(found["shallow"][:TOP]),
            words=found["words"],
            least=found["at_least"],
        )
    )


def _shares(rows: list[dict[str, Any]]) -> Value:
    return Listed(
        [Sentence("{word} {share}", word=Code(row["word"]), share=Estimate(row["share"], kind="share")) for row in rows]
    )


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
    label = f"Which positions passed each routed block of {name(arm.case)}"
    caption = _caption(matrix["used"], len(layers))
    return Figure(f"matrix-{arm.case.arm}", made, label, caption, pd.DataFrame(data), wide=True, least=440)


def _caption(used: list[int], layers: int) -> Sentence:
    words = {0: "{tokens} used none", layers: "{tokens} used all {blocks}"}
    parts = [
        Sentence(words.get(blocks, "{tokens} used {blocks}"), tokens=used.count(blocks), blocks=blocks)
        for blocks in range(layers + 1)
    ]
    return Sentence("Of {tokens} tokens, by routed blocks: {parts}.", tokens=len(used), parts=Listed(parts))


READING = (
    "The passage is a held-out window of the first seed, routed by top-k as in training. The stronger a token's background, the "
    "more of the blocks that may be skipped it went through; hover over it for the number. Vertical bands in the map are "
    "positions that most blocks agree on. One passage is an example: the panels below count over all held-out tokens."
)

PANEL = Panel(title="Which words go deep?", order=62, span=12, render=render, draws=True, reading=READING)
