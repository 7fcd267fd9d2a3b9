"""Whether the gate knows: score against the worth of a pass, causal rule against top-k, weights, overlap, drift."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import pandas as pd

from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import INK, MAP, MAP_INK, MUTED, PAPER, SERIES, new_figure
from modbench.reports.model import Arms, Block, Estimate, Figure, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels.routing import data_of, dots, hairline
from modbench.reports.questions import routing
from modbench.reports.questions.routing import SIDES, Arm
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.number_format import plain

WIDTH, HEIGHT = 4.0, 2.6
MARKS = ("o", "s", "^", "D", "v", "P")
# Overlap with the final selection from which on the router had settled.
SETTLED = 0.8


def render(loaded: Loaded) -> Iterator[Block]:
    """Show figures of the learned router and its controls, and a table of all routed arms."""
    arms = [arm for arm in routing.arms_of(loaded) if arm.routes]
    shown = routing.shown(arms)
    if not shown:
        return
    yield Note(Arms([arm.case for arm in shown]))
    first = shown[0]
    made = (_correlations(shown), _flips(first), _weights(first), _overlap(first), _kinds(first), _settling(first))
    yield from filter(None, made)
    yield routing.routers([*shown, *(arm for arm in arms if arm not in shown)])
    said, found = (
        "Means over seeds. Worth: thousandths of a nat over the window. Overlap: Jaccard index.",
        routing.overall(first),
    )
    if found is not None and found.estimate.closed:
        said += " Correlations: {evidence}."
    alone = "95 % bootstrap over windows, for this one trained model"
    yield Note(Sentence(said, evidence=routing.evidence(first, alone)))


# What is said of a verdict.
VERDICTS = {
    None: "",
    "wrong": " It prefers the wrong tokens.",
    "undecided": " Undecided.",
    "no control": " Above zero; no control was trained.",
    "above the control": " It knows: the best control, {control}, has {best}.",
    "not above the control": " Not clearly above the best control: {control} has {best}.",
}


def _correlations(shown: Sequence[Arm]) -> Figure | None:
    """Draw correlations by side."""
    series = [(arm, bins) for arm in shown if (bins := routing.correlations(arm))]
    found = routing.verdict(shown)
    if found is None:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    dots(axis, series, list(SIDES.values()), at=0.0)
    title = "rank correlation, score ~ worth"
    axis.set_title(title)
    best = next((bins[0].estimate for arm, bins in series if arm.case is found.against), None)
    overall = routing.overall(shown[0])
    caption = Sentence(
        "{arm}: {value} over {n} reversed decisions." + VERDICTS[found.verdict],
        arm=found.what,
        value=found.typical,
        n=overall.n if overall else 0,
        control=found.against,
        best=None if best is None else Estimate(best.value, kind=best.kind),
    )
    return Figure("knows-flips", made, title, caption, data_of(series), least=370)


def _flips(arm: Arm) -> Figure | None:
    """Draw every reversed decision of the last routed block, by score and effect."""
    found = routing.flips(arm)
    if found is None:
        return None
    last, decisions = found
    from matplotlib.ticker import NullLocator

    made, (axis,) = new_figure(WIDTH, HEIGHT)
    for passed, face in ((False, "none"), (True, arm.look.color)):
        axis.plot(
            [score for score, _, through in decisions if through == passed],
            [saved for _, saved, through in decisions if through == passed],
            arm.look.marker,
            linestyle="none",
            markersize=4,
            markerfacecolor=face,
            markeredgecolor=arm.look.color,
            markeredgewidth=0.9,
            alpha=0.8,
        )
    hairline(axis, 0.0, vertical=False)
    # On a linear axis a few large effects would flatten the rest into a line.
    axis.set_yscale(
        "symlog", linthresh=statistics.median_high([abs(saved) for _, saved, _ in decisions] or [0.0]) or 1.0
    )
    axis.yaxis.set_major_formatter(ticks())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_title(f"thousandths of a nat saved by a pass, block {last}")
    axis.set_xlabel("router's score")
    passes = [saved for _, saved, passed in decisions if passed]
    caption = Sentence(
        "{decisions} decisions of block {block}, filled where the token passed: {harmful} of {passes} passes did harm.",
        decisions=len(decisions),
        block=last,
        harmful=sum(saved < 0 for saved in passes),
        passes=len(passes),
    )
    names = ["score", "saved_nat_per_1000", "passed"]
    data = pd.DataFrame(decisions, columns=names).assign(arm=arm.case.arm, block=last)
    return Figure("knows-scatter", made, f"Score and worth of a pass, {name(arm.case)}", caption, data, least=370)


def _weights(arm: Arm) -> Figure | None:
    """Draw histograms of the factor on the block's output, a line per routed block; filled: tokens that passed."""
    rows = arm.first["weights"]
    if not rows:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    last = rows[-1]
    for row in rows:
        total = sum(row["all"]) or 1
        style = INK if row is last else MUTED
        axis.stairs([count / total for count in row["all"]], row["edges"], color=style, linewidth=1.1)
    total = sum(last["all"]) or 1
    passed = [count / total for count in last["passed"]]
    axis.stairs(passed, last["edges"], fill=True, color=arm.look.color, alpha=0.75, linewidth=0)
    hairline(axis, 0.0)
    axis.yaxis.set_major_formatter(ticks("%"))
    what = "weight that multiplies the block" if last["what"] == "weight" else "score"
    axis.set_title("share of tokens")
    axis.set_xlabel(what)
    caption = Sentence(
        "Block {block}: {positive} of the {what}s above zero, mean {mean}, standard deviation {sd}; filled: tokens that passed."
        + (" Grey: other blocks." if len(rows) > 1 else ""),
        block=last["layer"],
        what=last["what"],
        positive=Estimate(last["positive"], kind="share"),
        mean=Estimate(last["mean"], kind="difference"),
        sd=Estimate(last["sd"]),
    )
    data = [
        {
            "arm": arm.case.arm,
            "block": row["layer"],
            "what": row["what"],
            "from": low,
            "to": high,
            "tokens": count,
            "passed": passed,
        }
        for row in rows
        for low, high, count, passed in zip(row["edges"][:-1], row["edges"][1:], row["all"], row["passed"], strict=True)
    ]
    label = f"Router {last['what']}s of {name(arm.case)}"
    return Figure("knows-weights", made, label, caption, pd.DataFrame(data), least=370)


def _overlap(arm: Arm) -> Figure | None:
    """Draw the Jaccard index of every two routed blocks; random choices are in the caption."""
    overlap = arm.first["overlap"]
    layers = overlap["layers"]
    if len(layers) < 2:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    from matplotlib.patches import Rectangle

    for y, row in enumerate(overlap["jaccard"]):
        for x, value in enumerate(row[:y]):
            if value is None:
                continue
            shade = 4 + min(4, int(5 * value))
            axis.add_patch(Rectangle((x, y - 0.5), 1, 1, facecolor=MAP[shade], edgecolor=PAPER, linewidth=1.5))
            if len(layers) <= 8:
                axis.text(
                    x + 0.5, y, plain(Estimate(value, kind="fraction")), ha="center", va="center", color=MAP_INK[shade]
                )
    axis.set_xlim(0, len(layers) - 1)
    axis.set_ylim(len(layers) - 0.5, 0.5)
    axis.set_xticks([x + 0.5 for x in range(len(layers) - 1)], [f"block {layer}" for layer in layers[:-1]])
    axis.set_yticks(range(1, len(layers)), [f"block {layer}" for layer in layers[1:]])
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.set_title("overlap of selections, block by block")
    summary = arm.first["summary"]
    caption = Sentence(
        "Jaccard index, 1 where two blocks pass the same tokens: mean {mean}; random choices would give {expected}.",
        mean=Estimate(summary["overlap"], kind="fraction"),
        expected=Estimate(summary["overlap_expected"], kind="fraction"),
    )
    data = [
        {"arm": arm.case.arm, "block": layers[x], "other_block": layers[y], "jaccard": value}
        for y, row in enumerate(overlap["jaccard"])
        for x, value in enumerate(row[:y])
    ]
    label = f"Overlap of selections of {name(arm.case)}"
    return Figure("knows-overlap", made, label, caption, pd.DataFrame(data), least=370)


def _kinds(arm: Arm) -> Figure | None:
    """Draw participation by kind of token at each observation during training."""
    drift = routing.drift(arm)
    if drift is None:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    for number, (kind, values) in enumerate(drift["by_kind"].items()):
        if None in values:
            continue
        shade = SERIES[number % 5]
        marker = MARKS[number % len(MARKS)]
        axis.plot(drift["steps"], values, color=shade, marker=marker, markersize=4, linewidth=1.2, label=kind)
    axis.yaxis.set_major_formatter(ticks("%"))
    axis.set_ylim(bottom=0)
    axis.set_title("passing while training, by kind")
    axis.set_xlabel("steps")
    made.legend(loc="outside lower center", ncols=3, fontsize=8, labelcolor=MUTED, handlelength=1.8, columnspacing=1.2)
    start, end = (
        {kind: values[at] for kind, values in drift["by_kind"].items() if None not in values} for at in (0, -1)
    )
    moved = max(end, key=lambda kind: abs(end[kind] - start[kind]))
    caption = Sentence(
        "Largest change: {kind}, from {start} to {end}.",
        kind=moved,
        start=Estimate(start[moved], kind="share"),
        end=Estimate(end[moved], kind="share"),
    )
    data = [
        {"arm": arm.case.arm, "step": step, "kind": kind, "share": value}
        for kind, values in drift["by_kind"].items()
        for step, value in zip(drift["steps"], values, strict=True)
    ]
    label = f"Participation by kind while {name(arm.case)} trains"
    return Figure("knows-kinds", made, label, caption, pd.DataFrame(data), least=370)


def _settling(arm: Arm) -> Figure | None:
    """Draw how much each selection during training overlaps the final one."""
    drift = routing.drift(arm)
    if drift is None or len(drift["steps"]) < 2 or None in drift["overlap_with_last"]:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    axis.plot(drift["steps"], drift["overlap_with_last"], color=arm.look.color, marker=arm.look.marker, markersize=4.5)
    axis.plot(drift["steps"], drift["overlap_expected"], color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
    axis.set_ylim(0, 1.03)
    axis.set_title("overlap with the final selection")
    axis.set_xlabel("steps")
    before = drift["overlap_with_last"][-2]
    settled = "the router had settled" if before >= SETTLED else "the router was still moving"
    caption = Sentence(
        "Jaccard index; dashed: random choices. At step {step} of {steps} it was {before}: {settled}.",
        step=drift["steps"][-2],
        steps=drift["steps"][-1],
        before=Estimate(before, kind="fraction"),
        settled=settled,
    )
    names = ("step", "overlap_with_last", "expected_at_random")
    columns = (drift["steps"], drift["overlap_with_last"], drift["overlap_expected"])
    data = pd.DataFrame(dict(zip(names, columns, strict=True))).assign(arm=arm.case.arm)
    label = f"How the selection of {name(arm.case)} settles"
    return Figure("knows-settling", made, label, caption, data, least=370)


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
