"""Training loss over tokens; all variants see the same text in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from modbench.harness.domain.case import Case
from modbench.reports.blocks import Estimate, Figure, Sentence
from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import headline, look, new_figure
from modbench.reports.section import Section
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded

SMOOTHING = 12  # steps of the moving average
# More lines cannot be told from each other.
MOST_VARIANTS = 12
# The first of so many parts of a curve may leave the frame.
SKIPPED = 6


def render(loaded: Loaded) -> Iterator[Figure]:
    """Plot losses of training batches, averaged over neighbouring steps, in the unit of the report."""
    metric = loaded.trained_metric
    if metric is None or loaded.sizes_differ or not loaded.runs:  # `-k` may leave no run
        return
    unit, _ = losses.unit_of(loaded)
    curves = dict(_curves(loaded, metric))
    if not curves:
        return
    drawn, (axis,) = new_figure(4.6, 3.0)
    headline(drawn, f"training loss, {unit} (lower is better)")
    axis.set_xlabel("training tokens")
    axis.xaxis.set_major_formatter(ticks("k"))
    axis.locator_params(axis="x", nbins=5)
    for i, (case, line) in enumerate(curves.items()):
        style, every = look(case), max(1, len(line) // 6)
        axis.plot(
            line.tokens,
            line.loss,
            color=style.color,
            alpha=style.opacity,
            linestyle=(0, (3, 2)) if case.matched or case.model == "moe" else "-",
            marker=style.marker,
            markevery=((i * 2 + 2) % every, every),
            markersize=4.5,
            linewidth=1.3,
        )
    rest = pd.concat(line.loss[len(line) // SKIPPED :] for line in curves.values()).max()
    if not math.isnan(rest):  # losses of the first steps, which would press the rest together, leave the frame
        axis.set_ylim(top=1.01 * rest)
    label, data = f"Training loss over tokens by variant, {unit}", pd.concat(curves.values(), ignore_index=True)
    yield Figure("curves", drawn, label, _protocol(loaded), data, key=[*curves], least=300)


def _curves(loaded: Loaded, metric: str) -> Iterator[tuple[Case, pd.DataFrame]]:
    """Yield the smoothed training curve of each variant at the longest length that any was trained at, as it is drawn."""
    unit, factor = losses.unit_of(loaded)
    for case in loaded.variants[:MOST_VARIANTS]:
        row = loaded.case(case.variant, metric, losses.lengths(loaded)[-1])
        notes = None if row is None else loaded.tables.training_notes(str(row.case_id))
        if notes is not None and (curve := notes.curve) is not None:
            window = max(1, min(SMOOTHING, len(curve.loss) // 4))
            smooth = (factor * pd.Series(curve.loss, dtype=float)).rolling(window, min_periods=window).mean()
            drawn = {"variant": case.variant, "step": curve.step, "tokens": curve.tokens, "loss": smooth, "unit": unit}
            yield case, pd.DataFrame(drawn)


def _protocol(loaded: Loaded) -> Sentence:
    longest = losses.lengths(loaded)[-1]
    runs = [run for job in loaded.runs if (run := job.protocol.train) and run.seq_len == longest]
    steps, rates = (sorted({getattr(run, key) for run in runs}) for key in ("steps", "lr"))
    return Sentence(
        "{steps} steps of {tokens} tokens, T = {length}; AdamW, {rates}, cosine to zero; seed {seed}.",
        steps=Estimate(None, steps[0], steps[-1], "count"),
        tokens=runs[0].tokens_per_step,
        length=longest,
        rates=Estimate(None, rates[0], rates[-1]),
        seed=loaded.suite.seeds[0],
    )


READING = (
    "Each line is one variant, averaged over neighbouring steps of one seed. All read the same text in the same order, so that a "
    "variant that computes less usually ends higher; top-k routing reads later tokens."
)

SECTION = Section(title="What does it cost in loss?", order=31, span=5, render=render, draws=True, reading=READING)
