"""What routers decide: which words go deep, which tokens pass, which profit, what the score tells, and how work is shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from modbench.extend import (
    MUTED,
    Block,
    Figure,
    Loaded,
    Section,
    Sentence,
    columns_of,
    fill,
    name,
    name_rows,
    new_figure,
    ticks,
)
from modbench.plugins.routing import question as routing
from modbench.plugins.routing.question import TITLES, Bin, Series, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Per cent of the variant's colour behind a token that used every block; with more, contrast would fall below 4.5 to 1.
FULL = 46
TEXT = Path(__file__).with_name("passages.html.j2")
_LETTERS = str.maketrans({"\n": "¶\n", "\t": "→\t", "\r": "\\r"})


def deep_words(loaded: Loaded) -> Markup | None:
    """Show a passage of held-out text for two variants."""
    pair = routing.shown(routing.variants_of(loaded))[:2]
    return fill(TEXT, variants=[_passage_of(variant) for variant in pair]) if pair else None


def _passage_of(variant: Variant) -> dict[str, object]:
    matrix = variant.first["matrix"]
    layers = len(matrix["layers"])
    # The text in runs of tokens that used the same number of blocks.
    runs = groupby(zip(matrix["used"], matrix["pieces"], strict=True), key=itemgetter(0))
    return {
        "name": name(variant.case),
        "look": variant.look,
        "layers": layers,
        "strength": [round(FULL * n / layers) for n in range(layers + 1)],
        "passage": [(used, "".join(piece for _, piece in run).translate(_LETTERS)) for used, run in runs],
    }


ROUTING_TEXT = Section(
    reads_artifacts=True,
    title="Which words go deep?",
    order=62,
    span=12,
    render=deep_words,
    reading=(
        "A held-out passage, routed by top-k as in training: the stronger a token's background, the more of the routed blocks it "
        "went through."
    ),
)
"""Text coloured by the number of routed blocks that each token used: a learned router and a control."""


def dots(axis: Axes, series: Series, at: float) -> None:
    """Draw numbers with intervals (dotted for controls) and single seeds as ticks: a row per group, variants slightly apart.

    Args:
        axis: the axes to draw on.
        series: variants and their numbers in the groups of the first; marks of a loss are hollow where it saw later tokens.
        at: where the reference line stands.
    """
    labels = [each.label for each in series[0][1]]
    step = 0.7 / max(1, len(series))
    for number, (variant, bins) in enumerate(series):
        style, shade = variant.look, variant.look.opacity
        for each in bins:
            y = labels.index(each.label) + (number - (len(series) - 1) / 2) * step
            if each.estimate.ends is not None:
                dash = (0, (1.5, 1)) if variant.control else "-"
                axis.plot(each.estimate.ends, [y, y], color=style.color, linewidth=1.3, linestyle=dash, alpha=shade)
            axis.plot(each.seeds, [y] * len(each.seeds), "|", markersize=6, color=style.color, alpha=0.55 * shade)
            mark = axis.plot([each.value], [y], style.marker, markersize=4.5, color=style.color, alpha=shade)
            if each.estimate.kind == "difference" and variant.saw_the_future:
                mark[0].set_markerfacecolor("none")
    name_rows(axis, labels)
    axis.axvline(at, color=MUTED, linewidth=0.8, zorder=0)


def _figure(of: str, groups: Mapping[str, Series], at: float, label: str, caption: Sentence) -> Figure:
    """Draw a column for each variable, with the data of all; of each the groups of the first variant."""
    made, axes = new_figure(12.0, 3.0, len(groups))
    data = list[dict[str, object]]()
    for axis, (variable, (first, *others)) in zip(axes, groups.items(), strict=True):
        labels = [each.label for each in first[1]]
        series = [first, *((variant, [each for each in bins if each.label in labels]) for variant, bins in others)]
        dots(axis, series, at)
        axis.locator_params(axis="x", nbins=5)  # labels such as -0.075 are wide
        axis.set_title(f"by {TITLES[variable]}")
        if first[1][0].estimate.kind == "share":
            axis.xaxis.set_major_formatter(ticks("%"))
            axis.set_xlim(left=0)
        data += [_datum(variant, each) | {"variable": variable} for variant, bins in series for each in bins]
    variants = [variant.case for variant, _ in next(iter(groups.values()))]
    return Figure(f"routing-{of}", made, label, caption, pd.DataFrame(data), wide=True, key=variants)


def _datum(variant: Variant, each: Bin) -> dict[str, object]:
    seeds = ";".join(f"{value:.9g}" for value in each.seeds)
    row = {"variant": variant.case.variant, "bin": each.label, **columns_of(each.estimate)}
    return {**row, "n": each.n, "seeds": seeds}


def who_passes(loaded: Loaded) -> Iterator[Block]:
    """Show the share of tokens that pass, by variable."""
    shown = routing.shown(routing.variants_of(loaded))
    if not shown:
        return
    mean, seeds = shown[0].summary("participation"), len(shown[0].found)
    groups = {variable: [(variant, routing.shares(variant, variable)) for variant in shown] for variable in TITLES}
    words = (
        "Share that passes, by top-k; line: all tokens. {n:seed}; 95 % CI over seeds from three on, else over windows."
    )
    at = mean.value if mean and mean.value is not None else 0.0
    yield _figure("passes", groups, at, "Share of tokens that pass, by group of tokens", Sentence(words, n=seeds))


ROUTING_WHO = Section(
    reads_artifacts=True,
    title="Who passes?",
    order=63,
    span=12,
    render=who_passes,
    draws=True,
    reading=(
        "Held-out tokens by group, and the share that passed through a routed block instead of skipping it; strokes are single "
        "seeds. Equal shares mean that the router does not distinguish the groups."
    ),
)
"""Which tokens pass: participation by kind, position, frequency and difficulty, of a learned router and controls."""


def who_profits(loaded: Loaded) -> Iterator[Block]:
    """Show the loss over that of dense, by variable, with all tokens as the first row."""
    made = routing.profit(loaded)
    if made is None:
        return
    focus = next(iter(made.groups.values()))[0][0]
    words = (
        "Loss minus that of {dense} ({equal}), {unit}: below 0 the routed model is better; hollow: non-causal routing. "
    )
    words += "{n:seed}; 95 % CI over seeds from three on."
    seeds = len(focus.found.keys() & made.dense.found.keys())
    caption = Sentence(words, dense=made.dense.case, equal=made.equal, unit=made.unit, n=seeds)
    label = f"Loss minus that of {name(made.dense.case)}, by group of tokens"
    yield _figure("profits", made.groups, 0.0, label, caption)


ROUTING_PROFIT = Section(
    reads_artifacts=True,
    title="Who profits?",
    order=64,
    span=12,
    render=who_profits,
    draws=True,
    reading=(
        "Held-out tokens by group, and the loss of the routed model minus that of the dense one, paired by seed. Groups overlap "
        "between columns: differences must not be added up."
    ),
)
"""Which tokens profit: loss against the matched baseline, by kind of token, position, frequency and difficulty."""


def score_and_worth(loaded: Loaded) -> Iterator[Block]:
    """Show what was recorded of all routers, the one to show and its controls first."""
    variants = [variant for variant in routing.variants_of(loaded) if variant.routes]
    if shown := routing.shown(variants):
        yield routing.routers(loaded, [*shown, *(variant for variant in variants if variant not in shown)], shown)


ROUTING_KNOWS = Section(
    reads_artifacts=True,
    title="Does the gate know?",
    order=65,
    span=12,
    render=score_and_worth,
    reading=(
        "Whether a router's score goes with what a pass is worth: the loss saved when one decision is reversed. Controls do not "
        "learn to route, yet need not be at 0: a block learns to serve the tokens that it is given."
    ),
)
"""Whether the gate knows: score against the worth of a pass, causal rule against top-k, overlap of blocks."""


ROUTING_GATES = Section(
    reads_artifacts=True,
    title="Experts and whole-input gates: who works how much?",
    order=66,
    span=12,
    render=lambda loaded: filter(None, [routing.work(routing.variants_of(loaded))]),
    reading="How much work each expert, or each input, got; of a sweep at each variant's best size.",
)
"""Experts and whole-input gates: the busiest expert, and depth by difficulty."""
