"""Training loss over tokens, FLOPs and seconds, and held-out loss by position; all arms see the same text in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHING = 12  # steps of the moving average
POSITIONS = 16  # bins of positions in the window
# More arms cannot be told apart.
MOST_ARMS = 12
# The first of so many parts of a curve may leave the frame.
SKIPPED = 6
# Width of a figure in pixels: two stand side by side.
LEAST = 300

# An arm, the notes of the first seed's run, and the FLOPs of a training step, where they were counted.
Trained: TypeAlias = tuple[Case, TrainNotes, float | None]
# What is along the axis, and how a value of it is written.
_AXES: dict[str, tuple[str, Callable[[float, float], str]]] = {
    "tokens": ("training tokens", ticks("k")),
    "flops": ("training FLOPs", lambda value, _: plain(Estimate(value, unit="FLOP")) if value else "0"),
    "wall_s": ("seconds of training", ticks()),
    "position": ("position in a held-out window", ticks()),
}


def render(loaded: Loaded) -> list[Figure]:
    """Plot bits per token of training batches, averaged over neighbouring steps; by position for held-out windows."""
    metric = loaded.trained_metric
    if metric is None or loaded.sizes_differ or not loaded.runs:  # `-k` may leave no run
        return []
    curves = [found for case in loaded.arms[:MOST_ARMS] if (found := _trained(loaded, case, metric)) is not None]
    if not curves:
        return []
    return [
        drawn for name in ("tokens", "flops", "wall_s") if (drawn := _over(loaded, curves, name)) is not None
    ] + _positions(curves)


def _over(loaded: Loaded, curves: Sequence[Trained], name: str) -> Figure | None:
    """Plot the loss of training batches over tokens, FLOPs or seconds; None where no arm has them."""
    known: list[tuple[Case, Sequence[float], list[float]]] = []
    for case, notes, step_flops in curves:
        curve = notes.curve
        assert curve is not None
        flops = [(step + 1) * step_flops for step in curve.step] if step_flops else None
        xs = {"tokens": curve.tokens, "flops": flops, "wall_s": curve.wall_s}[name]
        if xs is not None:
            known.append((case, xs, _smooth(curve.loss)))
    captions: dict[str, str | Sentence] = {
        "tokens": _protocol(loaded),
        "flops": "Further left is cheaper: training FLOPs of an arm's own steps.",
    }
    said = captions.get(name, "Runs train side by side, so that seconds are a rough guide; steps are timed separately.")
    data = [
        {"arm": case.arm, "step": step, name: place, "bits_per_token": loss}
        for case, places, losses in known
        for step, (place, loss) in enumerate(zip(places, losses, strict=True))
    ]
    identity = "curves" if name == "tokens" else f"curves-{name.partition('_')[0]}"
    label = f"Training loss over {_AXES[name][0]}, by arm"
    return (
        _figure(identity, name, label, said, known, data, top=_top([losses for *_, losses in known])) if known else None
    )


def _positions(curves: Sequence[Trained]) -> list[Figure]:
    """Plot the held-out loss by position in the window, where it was kept."""
    known = [(case, *_by_position(notes.by_position)) for case, notes, _ in curves if notes.by_position]
    data = [
        {"arm": case.arm, "position": place, "held_out_bits_per_token": loss}
        for case, places, losses in known
        for place, loss in zip(places, losses, strict=True)
    ]
    said = "Held-out loss at each place of a window: later tokens have more context."
    label = "Held-out loss by position in the window, by arm"
    return [_figure("curves-position", "position", label, said, known, data)] if known else []


def _figure(
    identity: str,
    along: str,
    label: str,
    said: str | Sentence,
    known: Sequence[tuple[Case, Sequence[float], list[float]]],
    data: list[dict[str, object]],
    top: float | None = None,
) -> Figure:
    """Draw a line for each arm."""
    made, (axis,) = new_figure(4.0, 2.7)
    headline(made, "bits per token (lower is better)")
    about, ticks = _AXES[along]
    axis.set_xlabel(about)
    axis.xaxis.set_major_formatter(ticks)
    axis.locator_params(axis="x", nbins=5)
    for i, (case, places, losses) in enumerate(known):
        _line(axis, case, i, places, losses)
    if top is not None:
        axis.set_ylim(top=top)
    return Figure(identity, made, label, said, pd.DataFrame(data), key=[case for case, *_ in known], least=LEAST)


def _top(losses: Sequence[list[float]]) -> float | None:
    """The highest loss after the first steps, which would press the rest of all curves together; None if all are lost."""
    rest = [value for curve in losses for value in curve[len(curve) // SKIPPED :] if not math.isnan(value)]
    return 1.01 * max(rest) if rest else None


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


def _trained(loaded: Loaded, case: Case, metric: str) -> Trained | None:
    """What is drawn of an arm; None where it was not trained."""
    row = loaded.case(case.arm, metric, lengths(loaded)[-1])
    notes = None if row is None else loaded.tables.training_notes(str(row.case_id))
    if row is None or notes is None:
        return None
    counted = loaded.tables.cell(str(row.case_id), "flops/train_step").values()
    return case, notes, next(iter(counted.values()), None)


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


def _line(axis: Axes, case: Case, number: int, xs: Sequence[float], ys: list[float]) -> None:
    style, every = look(case), max(1, len(ys) // 6)
    axis.plot(
        xs,
        ys,
        color=style.color,
        alpha=style.opacity,
        linestyle=(0, (3, 2)) if case.rung or case.model == "moe" else "-",
        marker=style.marker,
        markevery=((number * 2 + 2) % every, every),
        markersize=4.5,
        linewidth=1.3,
    )


READING = (
    "Each line is one arm during training: the same loss over tokens, over FLOPs and over seconds. At equal tokens a model "
    "that computes less usually ends higher; the plot over FLOPs says what the same compute bought. The last plot shows "
    "held-out loss by position in the window. Lines are averages over neighbouring steps of one seed; the first may lie "
    "above the frame. Top-k routing sees later tokens. All arms read the same text in the same order, and start from the "
    "same weights where their shapes agree."
)

PANEL = Panel(title="How did they learn?", order=60, span=7, render=render, draws=True, reading=READING)
