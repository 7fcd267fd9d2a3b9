"""Training loss over tokens, FLOPs and seconds, and held-out loss by position; all arms see the same text in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.case import Case
from modbench.harness.core.units import human
from modbench.harness.results.notes.training import Curve, TrainNotes
from modbench.reports.load import Loaded
from modbench.reports.panel import Drawing, Panel, on_page
from modbench.reports.style import MUTED, look, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHING = 12  # steps of the moving average
POSITIONS = 16  # bins of positions in the window
# More arms cannot be told apart.
MOST_ARMS = 12


def render(loaded: Loaded) -> Markup | None:
    """Show the curves."""
    drawn = on_page(figures(loaded))
    return Markup('<div class="broad">{}</div>').format(drawn[0]) if drawn else None


def figures(loaded: Loaded) -> list[Drawing]:
    """Plot bits per token of training batches, averaged over neighbouring steps; by position for held-out windows."""
    suite, metric = loaded.run.plan.suite, loaded.trained_metric
    if metric is None or suite.isoflop:
        return []
    curves = [(case, found) for case in loaded.arms[:MOST_ARMS] if (found := _notes(loaded, case, metric))]
    if not curves:
        return []
    drawn, axes = new_figure(13.0, 3.0, 4, share_y=True)
    data: list[dict[str, object]] = []
    for i, (case, notes) in enumerate(curves):
        curve, step_flops = notes.curve, _step_flops(loaded, case, metric)
        assert curve is not None
        flops = [(step + 1) * step_flops for step in curve.step] if step_flops else None
        for axis, xs in zip(axes, (curve.tokens, flops, curve.wall_s), strict=False):
            if xs is not None:
                _line(axis, case, i, xs, _smooth(curve.loss))
        data += _steps(case, curve, flops)
        if notes.by_position:
            places, losses = _by_position(notes.by_position)
            _line(axes[3], case, i, places, losses)
            data += [
                {"arm": case.arm, "position": place, "held_out_bits_per_token": loss}
                for place, loss in zip(places, losses, strict=True)
            ]
    titles: tuple[tuple[str, Callable[[float, float], str]], ...] = (
        ("training tokens", lambda value, _: f"{value / 1000:g}k" if value else "0"),
        ("training FLOPs", lambda value, _: human(value, "FLOP") if value else "0"),
        ("seconds of training", lambda value, _: f"{value:g}"),
        ("held out: position in the window", lambda value, _: f"{value:g}"),
    )
    for axis, (title, ticks) in zip(axes, titles, strict=True):
        axis.set_xlabel(title)
        axis.xaxis.set_major_formatter(ticks)
        axis.locator_params(axis="x", nbins=4)
    axes[0].set_title("bits per token (lower is better)")
    axes[3].legend(ncols=2, fontsize=7, labelcolor=MUTED, handlelength=2.2, columnspacing=1.2)
    runs = [unit.protocol.train for unit in loaded.runs if unit.protocol.train]
    steps, rates = (sorted({getattr(run, key) for run in runs}) for key in ("steps", "lr"))
    reading = (
        f"{_span(steps)} steps of {runs[0].tokens_per_step} tokens, AdamW at {_span(rates)} with cosine to zero, seed "
        f"{suite.seeds[0]}. Same text, same order, same initial weights where shapes agree. Top-k routing sees later "
        "tokens. Runs train side by side, so seconds are only a rough guide; steps are timed separately."
    )
    label = "Training loss over tokens, FLOPs and seconds, and held-out loss by position, by arm"
    return [Drawing("curves", drawn, label, reading, pd.DataFrame(data), wide=True)]


def _steps(case: Case, curve: Curve, flops: list[float] | None) -> list[dict[str, object]]:
    """Return the steps of an arm, as drawn and as recorded."""
    costs = flops or [math.nan] * len(curve.step)
    steps = zip(curve.step, curve.tokens, costs, curve.wall_s, _smooth(curve.loss), curve.loss, strict=True)
    names = ("step", "tokens", "flops", "wall_s", "bits_per_token", "loss_nat")
    return [{"arm": case.arm, **dict(zip(names, values, strict=True))} for values in steps]


def _notes(loaded: Loaded, case: Case, metric: str) -> TrainNotes | None:
    """The notes of the first seed's run."""
    case_id = _case_id(loaded, case, metric)
    return loaded.tables.training_notes(case_id) if case_id else None


def _step_flops(loaded: Loaded, case: Case, metric: str) -> float | None:
    """FLOPs of a training step, where they were counted."""
    case_id = _case_id(loaded, case, metric)
    counted = loaded.tables.cell(case_id, "flops/train_step").good() if case_id else {}
    return next((outcome.samples["value"][0] for outcome in counted.values()), None)


def _case_id(loaded: Loaded, case: Case, metric: str) -> str | None:
    ids = loaded.cases[(loaded.cases.arm == case.arm) & (loaded.cases.metric == metric)].case_id
    return None if ids.empty else str(ids.iloc[0])


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
        label=f" {short(case)}",  # matplotlib hides labels that start with an underscore
    )


def _span(values: list[float]) -> str:
    """Format a range: `80`, or `80–140` if runs differ."""
    low, high = f"{values[0]:.3g}", f"{values[-1]:.3g}"
    return low if low == high else f"{low}–{high}"


PANEL = Panel(title="How did they learn?", order=60, span=12, render=render, figures=figures)
