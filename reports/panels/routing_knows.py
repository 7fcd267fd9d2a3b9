"""Whether the gate knows: score against the worth of a pass, causal rule against top-k, weights, overlap, drift."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import INK, MAP, MAP_INK, MUTED, PAPER, SERIES, new_figure
from modbench.reports.model import Block, Estimate, Figure, Listed, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels.routing import data_of, dots, hairline
from modbench.reports.questions import routing
from modbench.reports.questions.routing import SIDES, Arm
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

WIDTH, HEIGHT = 4.0, 2.6
MARKS = ("o", "s", "^", "D", "v", "P")


def render(loaded: Loaded) -> Iterator[Block]:
    """Show figures of the learned router and its controls, and a table of all routed arms."""
    arms = [arm for arm in routing.arms_of(loaded) if arm.routes]
    shown = routing.shown(arms)
    if not shown:
        return
    yield Note(Listed([arm.case for arm in shown]))
    first = shown[0]
    made = (_correlations(shown), _flips(first), _weights(first), _overlap(first), _kinds(first), _settling(first))
    yield from filter(None, made)
    yield routing.routers([*shown, *(arm for arm in arms if arm not in shown)])
    said = "Means over seeds. Worth: thousandths of a nat over the window. Overlap: Jaccard index. Correlations: {evidence}."
    alone = "a bootstrap over windows of the first model"
    yield Note(Sentence(said, evidence=routing.evidence(len(first.found), alone)))


def _figure(of: str, drawn: Drawn, arm: Arm, label: str, caption: str, data: list[dict[str, object]]) -> Figure:
    """A figure of an arm; `data` are its rows, without the arm."""
    frame = pd.DataFrame(data)
    frame.insert(0, "arm", arm.case.arm)
    return Figure(f"knows-{of}", drawn, label, caption, frame, least=370)


def _correlations(shown: Sequence[Arm]) -> Figure | None:
    """Draw correlations by side."""
    found = routing.verdict(shown)
    if found is None:
        return None
    series = [(arm, bins) for arm in shown if (bins := routing.correlations(arm))]
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    dots(axis, series, list(SIDES.values()), at=0.0)
    title = "rank correlation, score ~ worth"
    axis.set_title(title)
    caption = Sentence(
        "{arm}: {value}" + ", best control {control}" * (found.against is not None) + ": {verdict}.",
        arm=found.what,
        value=found.typical,
        control=found.against,
        verdict=found.verdict or "no claim",
    )
    return Figure("knows-flips", made, title, caption, data_of(series), least=370)


def _flips(arm: Arm) -> Figure | None:
    """Draw every reversed decision of the last routed block, by score and effect."""
    found = routing.flips(arm)
    if found is None:
        return None
    from matplotlib.ticker import NullLocator

    last, decisions = found
    data, color = pd.DataFrame(decisions, columns=["score", "saved_nat_per_1000", "passed"]), arm.look.color
    saved = data.saved_nat_per_1000
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    for passed, face in ((False, "none"), (True, color)):
        of = data[data.passed == passed]
        (marks,) = axis.plot(of.score, of.saved_nat_per_1000, arm.look.marker, color=color, markersize=4, alpha=0.8)
        marks.set(markerfacecolor=face, markeredgewidth=0.9)
    hairline(axis, 0.0, vertical=False)
    # On a linear axis a few large effects would flatten the rest into a line.
    axis.set_yscale("symlog", linthresh=statistics.median_high(saved.abs() if len(saved) else [0.0]) or 1.0)
    axis.yaxis.set_major_formatter(ticks())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_title(f"thousandths of a nat saved by a pass, block {last}")
    axis.set_xlabel("router's score")
    label = f"Score and worth of a pass, {name(arm.case)}"
    data = data.assign(arm=arm.case.arm, block=last)
    return Figure("knows-scatter", made, label, "Filled: the token passed.", data, least=370)


def _weights(arm: Arm) -> Figure | None:
    """Draw histograms of the factor on the block's output, a line per routed block; filled: tokens that passed."""
    rows = arm.first["weights"]
    if not rows:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    last = rows[-1]
    for row in rows:
        total, color = sum(row["all"]) or 1, INK if row is last else MUTED
        axis.stairs([count / total for count in row["all"]], row["edges"], color=color, linewidth=1.1)
    passed, total = last["passed"], sum(last["all"]) or 1
    shares = [count / total for count in passed]
    axis.stairs(shares, last["edges"], fill=True, color=arm.look.color, alpha=0.75, linewidth=0)
    hairline(axis, 0.0)
    axis.yaxis.set_major_formatter(ticks("%"))
    axis.set_title("share of tokens")
    axis.set_xlabel("weight that multiplies the block" if last["what"] == "weight" else "score")
    caption = f"Block {last['layer']}; filled: tokens that passed. Grey: other blocks."
    names = ("block", "what", "from", "to", "tokens", "passed")
    data = [
        dict(zip(names, (row["layer"], row["what"], *of), strict=True))
        for row in rows
        for of in zip(row["edges"][:-1], row["edges"][1:], row["all"], row["passed"], strict=True)
    ]
    return _figure("weights", made, arm, f"Router {last['what']}s of {name(arm.case)}", caption, data)


def _overlap(arm: Arm) -> Figure | None:
    """Draw the Jaccard index of every two routed blocks."""
    overlap = arm.first["overlap"]
    layers = overlap["layers"]
    if len(layers) < 2:
        return None
    from matplotlib.patches import Rectangle

    made, (axis,) = new_figure(WIDTH, HEIGHT)
    cells = [(x, y, value) for y, row in enumerate(overlap["jaccard"]) for x, value in enumerate(row[:y])]
    for x, y, value in (cell for cell in cells if cell[2] is not None):
        shade = 4 + min(4, int(5 * value))
        axis.add_patch(Rectangle((x, y - 0.5), 1, 1, facecolor=MAP[shade], edgecolor=PAPER, linewidth=1.5))
        if len(layers) <= 8:
            text = plain(Estimate(value, kind="share"))
            axis.text(x + 0.5, y, text, ha="center", va="center", color=MAP_INK[shade])
    axis.set_xlim(0, len(layers) - 1)
    axis.set_ylim(len(layers) - 0.5, 0.5)
    axis.set_xticks([x + 0.5 for x in range(len(layers) - 1)], [f"block {layer}" for layer in layers[:-1]])
    axis.set_yticks(range(1, len(layers)), [f"block {layer}" for layer in layers[1:]])
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.set_title("overlap of selections, block by block")
    caption = "Jaccard index, 1 where two blocks pass the same tokens."
    data = [{"block": layers[x], "other_block": layers[y], "jaccard": value} for x, y, value in cells]
    return _figure("overlap", made, arm, f"Overlap of selections of {name(arm.case)}", caption, data)


def _kinds(arm: Arm) -> Figure | None:
    """Draw participation by kind of token at each observation during training."""
    drift = routing.drift(arm)
    if drift is None:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    for number, (kind, shares) in enumerate(drift["by_kind"].items()):
        if None not in shares:
            color, marker = SERIES[number % 5], MARKS[number % len(MARKS)]
            axis.plot(drift["steps"], shares, color=color, marker=marker, markersize=4, linewidth=1.2, label=kind)
    axis.yaxis.set_major_formatter(ticks("%"))
    axis.set_ylim(bottom=0)
    axis.set_title("passing while training, by kind")
    axis.set_xlabel("steps")
    made.legend(loc="outside lower center", ncols=3, fontsize=8, labelcolor=MUTED, handlelength=1.8, columnspacing=1.2)
    data = [
        {"step": step, "kind": kind, "share": share}
        for kind, shares in drift["by_kind"].items()
        for step, share in zip(drift["steps"], shares, strict=True)
    ]
    return _figure("kinds", made, arm, f"Participation by kind while {name(arm.case)} trains", "", data)


def _settling(arm: Arm) -> Figure | None:
    """Draw how much each selection during training overlaps the final one."""
    drift = routing.drift(arm)
    if drift is None or len(drift["steps"]) < 2 or None in drift["overlap_with_last"]:
        return None
    steps, overlap, expected = (drift[key] for key in ("steps", "overlap_with_last", "overlap_expected"))
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    axis.plot(steps, overlap, color=arm.look.color, marker=arm.look.marker, markersize=4.5)
    axis.plot(steps, expected, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
    axis.set_ylim(0, 1.03)
    axis.set_title("overlap with the final selection")
    axis.set_xlabel("steps")
    data = pd.DataFrame({"step": steps, "overlap_with_last": overlap, "expected_at_random": expected})
    label, caption = f"How the selection of {name(arm.case)} settles", "Jaccard index; dashed: random choices."
    return Figure("knows-settling", made, label, caption, data.assign(arm=arm.case.arm), least=370)


READING = (
    "A router gives each token a score and passes those with the highest. The figures ask whether the score goes with"
    " what a pass is worth: the loss saved when one token passes (its decision is reversed, later blocks choose again), over as "
    "many tokens that passed as did not. A correlation near zero says that the router does not know which tokens gain. "
    "Controls are routers that do not learn; theirs need not be zero, as a block learns to serve the tokens that it is given. "
    "Predicted is how often the causal rule agrees with the top-k on the same input; overlap is that of the tokens that two "
    "blocks pass. "
    "The axis of single decisions is logarithmic away from zero; what changes in training is observed on the same held-out "
    "windows, of the first seed."
)

PANEL = Panel(title="Does the gate know?", order=65, span=12, render=render, draws=True, reading=READING)
