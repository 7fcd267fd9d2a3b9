"""Small figures of one router: flips, weights, overlap between blocks, drift over training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from modbench.reports.figures.style import INK, MAP, MAP_INK, MUTED, PAPER, new_figure
from modbench.reports.model import Figure
from modbench.reports.panels import _routing_parts as parts
from modbench.reports.panels._routing import Arm, Point

WIDTH, HEIGHT = 4.0, 2.6
MARKS = ("o", "s", "^", "D", "v", "P")


def all_of(arm: Arm) -> list[Figure]:
    """Return the figures that the first seed has data for."""
    made = (_flips(arm), _weights(arm), _overlap(arm), _kinds(arm), _settling(arm))
    return [each for each in made if each is not None]


def dotplot(
    series: Sequence[tuple[Arm, Sequence[Point], bool]], labels: list[str], identity: str, title: str, *, caption: str
) -> Figure:
    """Draw correlations by side, with a line at zero."""
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    parts.dots(axis, series, labels)
    axis.set_yticks(range(len(labels)), labels)
    parts.hairline(axis, 0.0)
    axis.set_title(title)
    return Figure(f"knows-{identity}", made, title, caption, parts.points_of(series), least=370)


def _flips(arm: Arm) -> Figure | None:
    """Draw every reversed decision of the last routed block, by score and effect."""
    found = arm.each("flips")
    if not found or not found[0].get("flips"):
        return None
    table, tokens = found[0]["flips"], arm.first["seq_len"]
    last = max(table["layer"])
    rows = [
        (score, 1000 * tokens * effect, passed)
        for score, effect, passed, layer in zip(
            table["score"], table["effect"], table["passed"], table["layer"], strict=True
        )
        if layer == last
    ]
    from matplotlib.ticker import NullLocator

    made, (axis,) = new_figure(WIDTH, HEIGHT)
    for passed, face in ((False, "none"), (True, arm.look.color)):
        some = [(x, y) for x, y, side in rows if side == passed]
        axis.plot(
            *zip(*some, strict=True) if some else ([], []),
            arm.look.marker,
            linestyle="none",
            markersize=4,
            markerfacecolor=face,
            markeredgecolor=arm.look.color,
            markeredgewidth=0.9,
            alpha=0.8,
        )
    parts.hairline(axis, 0.0, vertical=False)
    # On a linear axis a few large effects would flatten the rest into a line.
    axis.set_yscale("symlog", linthresh=statistics.median_high([abs(y) for _, y, _ in rows] or [0.0]) or 1.0)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_title(f"thousandths of a nat saved by a pass, block {last}")
    axis.set_xlabel("router's score")
    saved = [y for _, y, side in rows if side]
    wasted = sum(y < 0 for y in saved)
    reading = (
        f"{len(rows)} decisions of block {last}, each reversed alone; filled: the token passed, hollow: it did not. "
        f"{wasted} of {len(saved)} passes did harm. Logarithmic away from zero."
    )
    data = pd.DataFrame(rows, columns=["score", "saved_nat_per_1000", "passed"]).assign(arm=arm.case.arm, block=last)
    return Figure("knows-scatter", made, f"Score and worth of a pass, {arm.name}", reading, data, least=370)


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
    parts.hairline(axis, 0.0)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    what = "weight that multiplies the block" if last["what"] == "weight" else "score"
    axis.set_title("share of tokens")
    axis.set_xlabel(what)
    others = f"; grey: the other {len(rows) - 1}" if len(rows) > 1 else ""
    reading = (
        f"Block {last['layer']}: {last['positive']:.1%} of the {last['what']}s are above zero, mean {last['mean']:+.2f}, "
        f"standard deviation {last['sd']:.2f}; filled: tokens that passed{others}."
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
    return Figure(
        "knows-weights", made, f"Router {last['what']}s of {arm.name}", reading, pd.DataFrame(data), least=370
    )


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
                axis.text(x + 0.5, y, f"{value:.2f}", ha="center", va="center", color=MAP_INK[shade])
    axis.set_xlim(0, len(layers) - 1)
    axis.set_ylim(len(layers) - 0.5, 0.5)
    axis.set_xticks([x + 0.5 for x in range(len(layers) - 1)], [f"block {layer}" for layer in layers[:-1]])
    axis.set_yticks(range(1, len(layers)), [f"block {layer}" for layer in layers[1:]])
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.set_title("overlap of selections, block by block")
    summary = arm.first["summary"]
    reading = (
        f"Jaccard index, 1 where two blocks pass the same tokens: mean {summary['overlap']:.2f}; random choices would give "
        f"{summary['overlap_expected']:.2f}."
    )
    data = [
        {"arm": arm.case.arm, "block": layers[x], "other_block": layers[y], "jaccard": value}
        for y, row in enumerate(overlap["jaccard"])
        for x, value in enumerate(row[:y])
    ]
    return Figure("knows-overlap", made, f"Overlap of selections of {arm.name}", reading, pd.DataFrame(data), least=370)


def _kinds(arm: Arm) -> Figure | None:
    """Draw participation by kind of token at each observation during training."""
    drift = _drift(arm)
    if drift is None:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    for number, (kind, values) in enumerate(drift["by_kind"].items()):
        if None in values:
            continue
        shade = f"#0205{(0, 1, 2, 3, 4)[number % 5]:02d}"
        marker = MARKS[number % len(MARKS)]
        axis.plot(drift["steps"], values, color=shade, marker=marker, markersize=4, linewidth=1.2, label=kind)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_ylim(bottom=0)
    axis.set_title("passing while training, by kind")
    axis.set_xlabel("steps")
    made.legend(loc="outside lower center", ncols=3, fontsize=8, labelcolor=MUTED, handlelength=1.8, columnspacing=1.2)
    start, end = (
        {kind: values[at] for kind, values in drift["by_kind"].items() if None not in values} for at in (0, -1)
    )
    moved = max(end, key=lambda kind: abs(end[kind] - start[kind]))
    reading = (
        f"Largest change: {moved}, from {start[moved]:.1%} to {end[moved]:.1%}. "
        "First seed, the same held-out windows each time."
    )
    data = [
        {"arm": arm.case.arm, "step": step, "kind": kind, "share": value}
        for kind, values in drift["by_kind"].items()
        for step, value in zip(drift["steps"], values, strict=True)
    ]
    label = f"Participation by kind while {arm.name} trains"
    return Figure("knows-kinds", made, label, reading, pd.DataFrame(data), least=370)


def _settling(arm: Arm) -> Figure | None:
    """Draw how much each selection during training overlaps the final one."""
    drift = _drift(arm)
    if drift is None or len(drift["steps"]) < 2 or None in drift["overlap_with_last"]:
        return None
    made, (axis,) = new_figure(WIDTH, HEIGHT)
    axis.plot(drift["steps"], drift["overlap_with_last"], color=arm.look.color, marker=arm.look.marker, markersize=4.5)
    axis.plot(drift["steps"], drift["overlap_expected"], color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
    axis.set_ylim(0, 1.03)
    axis.set_title("overlap with the final selection")
    axis.set_xlabel("steps")
    before = drift["overlap_with_last"][-2]
    reading = (
        f"Jaccard index; dashed: random choices. At step {drift['steps'][-2]} of {drift['steps'][-1]} it was {before:.2f}: "
        f"{'the router has settled' if before >= 0.8 else 'the router was still moving'}."
    )
    names = ("step", "overlap_with_last", "expected_at_random")
    columns = (drift["steps"], drift["overlap_with_last"], drift["overlap_expected"])
    data = pd.DataFrame(dict(zip(names, columns, strict=True))).assign(arm=arm.case.arm)
    return Figure("knows-settling", made, f"How the selection of {arm.name} settles", reading, data, least=370)


def _drift(arm: Arm) -> dict[str, Any] | None:
    found = arm.each("drift")
    return found[0] if found and found[0].get("by_kind") else None
