"""Training loss over tokens, FLOPs and seconds, and held-out loss by position; all arms see the same text in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import TrainNotes
from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import headline, look, new_figure
from modbench.reports.model import Estimate, Figure, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import lengths
from modbench.reports.writers.number_format import plain

SMOOTHING = 12  # steps of the moving average
POSITIONS = 16  # bins of positions in the window
# More arms cannot be told apart.
MOST_ARMS = 12
# The first of so many parts of a curve may leave the frame.
SKIPPED = 6
# Width of a figure in pixels: two stand side by side.
LEAST = 300

# By a column of the figures' data: what is along the axis, and how a value of it is written.
AXES: dict[str, tuple[str, Callable[[float, float], str]]] = {
    "tokens": ("training tokens", ticks("k")),
    "flops": ("training FLOPs", lambda value, _: plain(Estimate(value, unit="FLOP")) if value else "0"),
    "wall_s": ("seconds of training", ticks()),
    "position": ("position in a held-out window", ticks()),
}


class Line(NamedTuple):
    """Losses of an arm in bits per token, and where on the axis they are."""

    case: Case
    places: Sequence[float]
    losses: list[float]


def render(loaded: Loaded) -> Iterator[Figure]:
    """Plot bits per token of training batches, averaged over neighbouring steps; by position for held-out windows."""
    metric = loaded.trained_metric
    if metric is None or loaded.sizes_differ or not loaded.runs:  # `-k` may leave no run
        return
    rows = [(case, loaded.case(case.arm, metric, lengths(loaded)[-1])) for case in loaded.arms[:MOST_ARMS]]
    lines: dict[str, list[Line]] = {name: [] for name in AXES}
    for case, row in rows:
        notes = None if row is None else loaded.tables.training_notes(str(row.case_id))
        if row is None or notes is None:
            continue
        steps = loaded.tables.values_of(loaded.cases_by_id[row.case_id], "flops/train_step")
        for name, (places, losses) in _curves(notes, next(iter(steps.values()), None)):
            lines[name].append(Line(case, places, losses))
    yield from (_figure(loaded, name, those) for name, those in lines.items() if those)


def _curves(notes: TrainNotes, step_flops: float | None) -> Iterator[tuple[str, tuple[Sequence[float], list[float]]]]:
    """Yield places and losses of a run, by what they are along; those alone that were kept."""
    curve = notes.curve
    assert curve is not None, "a training run keeps its curve"
    losses = _smooth(curve.loss)
    yield "tokens", (curve.tokens, losses)
    if step_flops:
        yield "flops", ([(step + 1) * step_flops for step in curve.step], losses)
    yield "wall_s", (curve.wall_s, losses)
    if notes.by_position:
        yield "position", _by_position(notes.by_position)


def _smooth(losses: Sequence[float | None]) -> list[float]:
    """Convert to bits and average over neighbouring steps."""
    bits = pd.Series([math.nan if loss is None else loss / math.log(2) for loss in losses])
    window = max(1, min(SMOOTHING, len(bits) // 4))
    return list(bits.rolling(window, min_periods=window).mean())


def _by_position(losses: list[float]) -> tuple[list[float], list[float]]:
    """Return the middle of each bin of positions, and its mean loss in bits."""
    bins = pd.Series(range(len(losses))) * min(POSITIONS, len(losses)) // len(losses)
    places = pd.Series(range(len(losses))).groupby(bins).mean()
    return list(places), list((pd.Series(losses) / math.log(2)).groupby(bins).mean())


# Captions of the figures beside the first, which says how the runs were trained.
CAPTIONS = {
    "flops": "FLOPs of the steps of each arm.",
    "wall_s": "Runs train side by side: seconds are a rough guide.",
    "position": "Losses of held-out sequences.",
}


def _figure(loaded: Loaded, name: str, lines: Sequence[Line]) -> Figure:
    """Draw a line for each arm; of training, losses of the first steps, which would press the rest together, leave the frame."""
    title, written = AXES[name]
    drawn, (axis,) = new_figure(4.0, 2.7)
    headline(drawn, "bits per token (lower is better)")
    axis.set_xlabel(title)
    axis.xaxis.set_major_formatter(written)
    axis.locator_params(axis="x", nbins=5)
    for i, line in enumerate(lines):
        style, every = look(line.case), max(1, len(line.losses) // 6)
        axis.plot(
            line.places,
            line.losses,
            color=style.color,
            alpha=style.opacity,
            linestyle=(0, (3, 2)) if line.case.rung or line.case.model == "moe" else "-",
            marker=style.marker,
            markevery=((i * 2 + 2) % every, every),
            markersize=4.5,
            linewidth=1.3,
        )
    rest = [loss for line in lines for loss in line.losses[len(line.losses) // SKIPPED :] if not math.isnan(loss)]
    if rest and name != "position":
        axis.set_ylim(top=1.01 * max(rest))
    column = "held_out_bits_per_token" if name == "position" else "bits_per_token"
    parts = [
        pd.DataFrame({"arm": each.case.arm, "step": range(len(each.places)), name: each.places, column: each.losses})
        for each in lines
    ]
    data = pd.concat(parts, ignore_index=True).drop(columns=["step"] if name == "position" else [])
    identity = "curves" if name == "tokens" else f"curves-{name.partition('_')[0]}"
    label, key = f"Loss over {title}, by arm", [line.case for line in lines]
    caption = CAPTIONS.get(name) or _protocol(loaded)
    return Figure(identity, drawn, label, caption, data, key=key, least=LEAST)


def _protocol(loaded: Loaded) -> Sentence:
    several, longest = len(lengths(loaded)) > 1, lengths(loaded)[-1]
    runs = [run for unit in loaded.runs if (run := unit.protocol.train) and run.seq_len == longest]
    steps, rates = (sorted({getattr(run, key) for run in runs}) for key in ("steps", "lr"))
    return Sentence(
        "{steps} steps of {tokens} tokens"
        + ", T = {length}" * several
        + "; AdamW, {rates}, cosine to zero; seed {seed}.",
        steps=Estimate(None, steps[0], steps[-1], "count"),
        tokens=runs[0].tokens_per_step,
        length=longest,
        rates=Estimate(None, rates[0], rates[-1]),
        seed=loaded.suite.seeds[0],
    )


READING = (
    "Each line is one arm during training: the same loss over tokens, over FLOPs and over seconds. At equal tokens a model "
    "that computes less usually ends higher; the plot over FLOPs says what the same compute bought. Runs train side by side, "
    "so that seconds are a rough guide. The last plot shows held-out loss by position in the window. Lines are averages over "
    "neighbouring steps of one seed; the first may lie above the frame. Top-k routing sees later tokens. All arms read the same "
    "text in the same order, and start from the same weights where their shapes agree."
)

PANEL = Panel(title="How did they learn?", order=60, span=7, render=render, draws=True, reading=READING)
