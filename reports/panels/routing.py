"""What routers decide: which words go deep, which tokens pass, which profit, and how experts and gates share the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from modbench.harness.stats.effects import t_quantile
from modbench.reports.figures.axes import name_rows, ticks
from modbench.reports.figures.style import MUTED, new_figure
from modbench.reports.model import Block, Code, Estimate, Figure, Listed, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.questions import routing
from modbench.reports.questions.routing import ALL, TITLES, Arm, Profit, Series
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.html import fill, inline
from modbench.reports.writers.number_format import plain
from modbench.reports.writers.text import wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dots(axis: Axes, series: Series, labels: Sequence[str], *, shown: Sequence[str] = (), at: float) -> None:
    """Draw numbers with intervals (dotted for controls) and single seeds as ticks: a row per group, arms slightly apart.

    Args:
        axis: the axes to draw on.
        series: arms and their numbers; marks are hollow of those that saw the future, where their loss is drawn.
        labels: groups, a row of each from the top; others are left out.
        shown: labels of the rows, where they are others.
        at: where the reference line stands.
    """
    step = 0.7 / max(1, len(series))
    for number, (arm, bins) in enumerate(series):
        style, shade = arm.look, arm.look.opacity
        for each in (each for each in bins if each.label in labels):
            y = labels.index(each.label) + (number - (len(series) - 1) / 2) * step
            if each.estimate.ends is not None:
                dash = (0, (1.5, 1)) if arm.control else "-"
                axis.plot(each.estimate.ends, [y, y], color=style.color, linewidth=1.3, linestyle=dash, alpha=shade)
            axis.plot(each.seeds, [y] * len(each.seeds), "|", markersize=6, color=style.color, alpha=0.55 * shade)
            mark = axis.plot([each.value], [y], style.marker, markersize=4.5, color=style.color, alpha=shade)
            if each.estimate.kind == "difference" and arm.saw_the_future:
                mark[0].set_markerfacecolor("none")
    name_rows(axis, shown or labels)
    hairline(axis, at)


def titled(axis: Axes, text: str, *, most: int) -> None:
    """Set a title, in several lines if it has more than `most` letters: it may hold an arm's name, of any length.

    matplotlib's own wrapping would read a dollar sign in a name as mathematics.
    """
    axis.set_title("\n".join(wrapped([text], most)))


def data_of(series: Series) -> pd.DataFrame:
    """Return what `dots` draws: a row for each arm and group."""
    first = {each.label for each in series[0][1]}
    rows = [
        {
            "arm": arm.case.arm,
            "bin": each.label,
            **columns_of(each.estimate),
            "n": each.n,
            "seeds": ";".join(f"{value:.9g}" for value in each.seeds),
        }
        for arm, bins in series
        for each in bins
        if each.label in first
    ]
    return pd.DataFrame(rows)


def hairline(axis: Axes, at: float, *, vertical: bool = True) -> None:
    """Draw a thin reference line."""
    (axis.axvline if vertical else axis.axhline)(at, color=MUTED, linewidth=0.8, zorder=0)


# Per cent of the arm's colour behind a token that used every block; with more, contrast would fall below 4.5 to 1.
FULL = 46
_LETTERS = {"\n": "¶\n", "\t": "→\t", "\r": "\\r"}
MOST_WORDS = 8


def deep_words(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show a passage of held-out text for two arms; below, the decisions of each by block and position."""
    pair = routing.shown(routing.arms_of(loaded))[:2]
    if not pair:
        return
    yield fill("routing_text", arms=[_passage_of(arm) for arm in pair])
    yield from (_positions(arm, arm.first["matrix"]) for arm in pair)


def _passage_of(arm: Arm) -> dict[str, object]:
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
    deep, shallow = (
        [
            Sentence("{word} {share}", word=Code(row["word"]), share=Estimate(row["share"], kind="share"))
            for row in found[side][:MOST_WORDS]
        ]
        for side in ("deep", "shallow")
    )
    said = Sentence(
        "Deepest words: {deep}. Shallowest: {shallow}. Share of routed blocks used, of {words} words that occur {least} "
        "times or more.",
        deep=Listed(deep),
        shallow=Listed(shallow),
        words=found["words"],
        least=found["at_least"],
    )
    return inline(said) if deep else Markup()


def _passage(matrix: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the text in runs of tokens that used the same number of blocks."""
    runs = groupby(zip(matrix["used"], matrix["pieces"], strict=True), key=lambda pair: pair[0])
    return [
        (used, "".join("".join(_LETTERS.get(letter, letter) for letter in piece) for _, piece in run))
        for used, run in runs
    ]


def _positions(arm: Arm, matrix: dict[str, Any]) -> Figure:
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
    return Figure(f"matrix-{arm.case.arm}", made, label, "", pd.DataFrame(data), wide=True, least=440)


ROUTING_TEXT = Panel(
    title="Which words go deep?",
    order=62,
    span=12,
    render=deep_words,
    draws=True,
    reading=(
        "The passage is a held-out window of the first seed, routed by top-k as in training. The stronger a "
        "token's background, the more of the blocks that may be skipped it went through; hover over it for the "
        "number. Vertical bands in the map are positions that most blocks agree on. One passage is an example: the "
        "panels below count over all held-out tokens."
    ),
)
"""Text coloured by the number of routed blocks that each token used: a learned router beside a control."""


def who_passes(loaded: Loaded) -> Iterator[Block]:
    """Show a figure per variable."""
    shown = routing.shown(routing.arms_of(loaded))
    if not shown:
        return
    focus = shown[0]
    yield Note(Listed([arm.case for arm in shown]))
    yield from (_passing(variable, [(arm, routing.shares(arm, variable)) for arm in shown]) for variable in TITLES)
    yield Note(
        Sentence(
            "Share of tokens that pass, mean over {layers} routed blocks; thin line: all tokens of {arm}. {tokens} held-out "
            "tokens in {windows} windows, routed by top-k. {evidence}.",
            layers=len(focus.first["layers"]),
            arm=focus.case,
            tokens=focus.first["tokens"],
            windows=focus.first["windows"],
            evidence=routing.evidence(len(focus.found), "over windows of the first seed (Wilson)"),
        )
    )


def _passing(variable: str, series: Series) -> Figure:
    focus, bins = series[0]
    made, (axis,) = new_figure(4.0, 3.0)
    mean = focus.summary("participation")
    dots(axis, series, [each.label for each in bins], at=mean.value if mean and mean.value is not None else 0.0)
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.set_xlim(left=0)
    axis.set_title(f"passing, by {TITLES[variable]}")
    label = f"Share of tokens that pass by {TITLES[variable]}"
    return Figure(f"who-{variable}", made, label, "", data_of(series), least=370)


ROUTING_WHO = Panel(
    title="Who passes?",
    order=63,
    span=12,
    render=who_passes,
    draws=True,
    reading=(
        "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures "
        "show the share that passed through a routed block instead of skipping it; with several seeds the small "
        "strokes are single seeds. If all groups have the same share, the router does not tell them apart. Loss "
        "and entropy are the model's own, after routing: a token may be easy because it passed. The figures do not "
        "show whether the right tokens passed."
    ),
)
"""Which tokens pass: participation by kind, position, frequency, difficulty, loss and entropy, learned beside controls."""


def who_profits(loaded: Loaded) -> Iterator[Block]:
    """Show a figure per variable, with all tokens as the first row."""
    made = routing.profit(loaded)
    if made is None:
        return
    series = next(iter(made.groups.values()))
    (focus, bins), dense = series[0], made.dense
    whole = bins[0].n
    yield Note(Listed([arm.case for arm, _ in series]))
    yield from (_profit(made, variable, whole) for variable in made.groups)
    yield Note(
        Sentence(
            "Held-out loss minus that of {dense} ({equal}), in bits per token, paired by seed: left of the line the routed "
            "model is better. Hollow: routed by top-k, which sees later tokens: the loss flatters it. {evidence}.",
            dense=dense.case,
            equal=made.equal,
            evidence=routing.evidence(len(focus.found.keys() & dense.found.keys()), "none, an illustration"),
        )
    )


def _profit(made: Profit, variable: str, whole: int) -> Figure:
    series = made.groups[variable]
    bins = series[0][1]
    drawn, (axis,) = new_figure(3.4, 3.0)
    parts = [Sentence("{group} ({share})", group=each.label, share=routing.part_of(each.n, whole)) for each in bins]
    shown = [ALL if each.label == ALL else plain(part) for each, part in zip(bins, parts, strict=True)]
    dots(axis, series, [each.label for each in bins], shown=shown, at=0.0)
    axis.locator_params(axis="x", nbins=5)  # labels such as -0.075 are wide
    titled(axis, f"bits per token, by {TITLES[variable]}", most=32)
    label = f"Loss minus that of {name(made.dense.case)} by {TITLES[variable]}"
    return Figure(f"profit-{variable}", drawn, label, "", data_of(series), least=270)


ROUTING_PROFIT = Panel(
    title="Who profits?",
    order=64,
    span=12,
    render=who_profits,
    draws=True,
    reading=(
        "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures "
        "show the loss of the routed model minus that of the dense one: left of the line skipping did no harm "
        "there. Both are routed causally, as in decoding, but for hollow marks; with several seeds the small "
        "strokes are single seeds. Groups overlap between figures, so differences must not be added up."
    ),
)
"""Which tokens profit: loss against the dense model of equal cost, by kind of token, position, frequency and difficulty."""


MOST_IN_LINE = 46  # letters of a title in a figure 4 inches wide
MOST_BLOCKS = 4  # named in a caption


def work_shared(loaded: Loaded) -> list[Figure]:
    """Draw the load of experts of each arm that has some, then depths of each arm whose gate chooses one."""
    arms = routing.best_sizes(routing.arms_of(loaded))
    drawn = [_experts(arm) for arm in arms if arm.first["experts"]]
    return drawn + [_depths(arm) for arm in arms if arm.first["depth"]]


def _experts(arm: Arm) -> Figure:
    """Draw the load of every expert by block, with even shares marked."""
    rows = arm.first["experts"]
    data = pd.DataFrame(
        {"arm": arm.case.arm, "block": row["layer"], "expert": number, "share": share}
        for row in rows
        for number, share in enumerate(row["load"])
    )
    left, experts = data.groupby("block").share.cumsum() - data.share, len(rows[0]["load"])
    made, (axis,) = new_figure(4.0, 0.75 + 0.3 * len(rows))
    for number in range(experts):
        of, alpha = data[data.expert == number], 0.5 if number % 2 else 0.9
        axis.barh(range(len(of)), of.share, 0.6, left[of.index], color=arm.look.color, alpha=alpha, linewidth=0)
        if number:
            hairline(axis, number / experts)
    name_rows(axis, [f"block {row['layer']}" for row in rows], 0.5)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.grid(visible=False)
    titled(axis, f"{name(arm.case)}: load by expert", most=MOST_IN_LINE)
    none = [
        Sentence("{share} in block {block}", share=Estimate(row["none"], kind="share"), block=row["layer"])
        for row in rows
    ]
    caption = Sentence(
        "The busiest of {experts} experts takes {load} times its even share. Tokens that no real expert took (a no-op "
        "preferred, or dropped): {none}.",
        experts=experts,
        load=Estimate(arm.first["summary"]["expert_load_max"]),
        none=Listed(none, most=MOST_BLOCKS),
    )
    label = f"Load of the experts of {name(arm.case)}"
    return Figure(f"experts-{arm.case.arm}", made, label, caption, data, least=370)


def _depths(arm: Arm) -> Figure:
    """Draw mean depth over prompt length, with the easiest and the hardest quarter of the prompts."""
    depth, color = arm.first["depth"], arm.look.color
    data = pd.DataFrame(
        {
            "arm": arm.case.arm,
            "prompt_tokens": row["length"],
            "blocks": row["depth"],
            "standard_error": row["depth_se"],
            "easiest_quarter": row["by_difficulty"][0]["depth"],
            "hardest_quarter": row["by_difficulty"][-1]["depth"],
        }
        for row in depth["by_length"]
    )
    made, (axis,) = new_figure(4.0, 2.6)
    axis.plot(data.prompt_tokens, data.blocks, color=color, marker=arm.look.marker, markersize=5)
    for column, dash in (("easiest_quarter", (0, (1, 2))), ("hardest_quarter", (0, (4, 2)))):
        axis.plot(data.prompt_tokens, data[column], color=color, linestyle=dash, linewidth=1.1)
    half = t_quantile(0.975, arm.first["windows"]) * data.standard_error.astype(float)
    axis.errorbar(data.prompt_tokens, data.blocks, half, fmt="none", ecolor=color, elinewidth=1.3)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(ticks())
    axis.minorticks_off()
    if depth["blocks"]:
        axis.set_ylim(0, depth["blocks"] + 0.4)
    titled(axis, f"{name(arm.case)}: blocks run per prompt", most=MOST_IN_LINE)
    axis.set_xlabel("tokens of the prompt")
    caption = Sentence(
        "Dotted: the easiest quarter of the prompts; dashed: the hardest. Windows as scored get {mean} blocks.",
        mean=Estimate(depth["depth"]),
    )
    label = f"Depth by prompt length of {name(arm.case)}"
    return Figure(f"depth-{arm.case.arm}", made, label, caption, data, least=370)


ROUTING_GATES = Panel(
    title="Experts and whole-input gates: who works how much?",
    order=66,
    span=12,
    render=work_shared,
    draws=True,
    reading=(
        "These models decide for each input, or each expert, how much to compute. The figures show how the work "
        "was shared: bars of equal height mean that nothing was decided. They describe what the gate did on "
        "held-out text, not whether that was good. Prompts are hard by n-gram surprisal; intervals of depth are "
        "95 % over windows, of the first seed. A sweep over sizes shows each variant at the size with the lowest loss."
    ),
)
"""Experts and whole-input gates: load by expert, and depth by prompt length and difficulty."""
