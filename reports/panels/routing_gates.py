"""Experts and whole-input gates: load by expert, and depth by prompt length and difficulty."""

from __future__ import annotations

import pandas as pd

from modbench.harness.stats.effects import t_quantile
from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import new_figure
from modbench.reports.model import Estimate, Figure, Listed, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as parts
from modbench.reports.questions import routing
from modbench.reports.questions.routing import Arm
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name

MOST_IN_LINE = 46  # letters of a title in a figure 4 inches wide
MOST_BLOCKS = 4  # named in a caption


def render(loaded: Loaded) -> list[Figure]:
    """Draw the load of experts of each arm that has some, then depths of each arm whose gate chooses one."""
    arms = routing.best_sizes(routing.arms_of(loaded))
    drawn = [_experts(arm) for arm in arms if arm.first["experts"]]
    return drawn + [_depths(arm) for arm in arms if arm.first["depth"]]


def _experts(arm: Arm) -> Figure:
    """Draw the load of every expert by block, with even shares marked."""
    rows = arm.first["experts"]
    made, (axis,) = new_figure(4.0, 0.75 + 0.3 * len(rows))
    for y, row in enumerate(rows):
        left = 0.0
        for number, share in enumerate(row["load"]):
            alpha = 0.9 if number % 2 == 0 else 0.5
            axis.barh(y, share, left=left, height=0.6, color=arm.look.color, alpha=alpha, linewidth=0)
            left += share
    even = len(rows[0]["load"])
    for number in range(1, even):
        parts.hairline(axis, number / even)
    axis.set_yticks(range(len(rows)), [f"block {row['layer']}" for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.grid(visible=False)
    axis.tick_params(axis="y", length=0)
    parts.titled(axis, f"{name(arm.case)}: load by expert", most=MOST_IN_LINE)
    summary = arm.first["summary"]
    none = [
        Sentence("{share} in block {block}", share=Estimate(row["none"], kind="share"), block=row["layer"])
        for row in rows
    ]
    caption = Sentence(
        "The busiest of {experts} experts takes {load} times its even share. Tokens that no real expert took (a no-op "
        "preferred, or dropped): {none}.",
        experts=even,
        load=Estimate(summary["expert_load_max"], kind="fraction"),
        none=Listed(none, most=MOST_BLOCKS),
    )
    data = [
        {"arm": arm.case.arm, "block": row["layer"], "expert": number, "share": share}
        for row in rows
        for number, share in enumerate(row["load"])
    ]
    label = f"Load of the experts of {name(arm.case)}"
    return Figure(f"experts-{arm.case.arm}", made, label, caption, pd.DataFrame(data), least=370)


def _depths(arm: Arm) -> Figure:
    """Draw mean depth over prompt length, with the easiest and the hardest quarter of the prompts."""
    depth = arm.first["depth"]
    rows = depth["by_length"]
    made, (axis,) = new_figure(4.0, 2.6)
    lengths = [row["length"] for row in rows]
    axis.plot(lengths, [row["depth"] for row in rows], color=arm.look.color, marker=arm.look.marker, markersize=5)
    for at, dash in ((0, (0, (1, 2))), (-1, (0, (4, 2)))):
        axis.plot(
            lengths,
            [row["by_difficulty"][at]["depth"] for row in rows],
            color=arm.look.color,
            linestyle=dash,
            linewidth=1.1,
        )
    for row in rows:
        if row["depth_se"]:
            half = t_quantile(0.975, arm.first["windows"]) * row["depth_se"]
            axis.plot(
                [row["length"]] * 2, [row["depth"] - half, row["depth"] + half], color=arm.look.color, linewidth=1.3
            )
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(ticks())
    axis.minorticks_off()
    if depth["blocks"]:
        axis.set_ylim(0, depth["blocks"] + 0.4)
    parts.titled(axis, f"{name(arm.case)}: blocks run per prompt", most=MOST_IN_LINE)
    axis.set_xlabel("tokens of the prompt")
    longest = rows[-1]["by_difficulty"]
    caption = Sentence(
        "At {length} tokens {easiest} blocks for the easiest quarter of the prompts (dotted), {hardest} for the hardest "
        "(dashed); windows as scored get {mean}" + (" of {blocks}." if depth["blocks"] else "."),
        length=lengths[-1],
        easiest=Estimate(longest[0]["depth"], kind="fraction"),
        hardest=Estimate(longest[-1]["depth"], kind="fraction"),
        mean=Estimate(depth["depth"], kind="fraction"),
        blocks=depth["blocks"],
    )
    data = [
        {
            "arm": arm.case.arm,
            "prompt_tokens": row["length"],
            "blocks": row["depth"],
            "standard_error": row["depth_se"],
            "easiest_quarter": row["by_difficulty"][0]["depth"],
            "hardest_quarter": row["by_difficulty"][-1]["depth"],
        }
        for row in rows
    ]
    label = f"Depth by prompt length of {name(arm.case)}"
    return Figure(f"depth-{arm.case.arm}", made, label, caption, pd.DataFrame(data), least=370)


READING = (
    "These models decide for each input, or each expert, how much to compute. The figures show how the work was "
    "shared: bars of equal height mean that nothing was decided. They describe what the gate did on held-out text, "
    "not whether that was good. Prompts are hard by n-gram surprisal; intervals of depth are 95 % over windows, of the first "
    "seed. A sweep over sizes shows each variant at the size with the lowest loss."
)

PANEL = Panel(
    title="Experts and whole-input gates: who works how much?",
    order=66,
    span=12,
    render=render,
    draws=True,
    reading=READING,
)
