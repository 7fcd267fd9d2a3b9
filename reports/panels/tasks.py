"""Accuracy on tasks at equal training FLOPs, beside rules that do not solve the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.core.grouped import grouped
from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import INK, MUTED, look, new_figure
from modbench.reports.model import Block, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import tasks
from modbench.reports.questions.tasks import OnTask
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = 0.62  # share of a task's row over which its arms are spread


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a dot plot, the numbers, and accuracy by kind of question."""
    made = [each for each in tasks.results(loaded) if each.found.status == "ok"]
    if made:
        yield _figure(loaded, made)
        yield from tasks.blocks(loaded)


def _figure(loaded: Loaded, made: Sequence[OnTask]) -> Figure:
    by_task = grouped((each.task, each) for each in made)
    drawn, (axis,) = new_figure(9.0, 0.9 + 0.62 * len(by_task))
    for row, arms in enumerate(by_task.values()):
        _draw(axis, row, arms)
    axis.set_yticks(range(len(by_task)), [*by_task])
    axis.set_ylim(len(by_task) - 0.45, -0.55)
    axis.set_xlim(0, 1.02)
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.set_title("accuracy on held-out questions (further right is better)")
    reading = Sentence(
        "Every arm spends the training FLOPs that {anchor} spends on the task's steps; {seeds}. Routing is causal.",
        anchor=made[0].found.case,
        seeds=seeds_in_words(loaded, max(each.seeds for each in made)),
    )
    data = [
        {
            "task": each.task,
            "arm": each.found.case.arm,
            **columns_of(each.accuracy, "accuracy"),
            "questions": each.answers[0].n,
            "seeds": each.seeds,
            "majority": each.majority,
            "shortcut": each.shortcut[0],
            "shortcut_accuracy": each.shortcut[1],
            "solved_from": each.counts.level,
            "solved": each.solved,
        }
        for each in made
    ]
    key = {each.found.case.arm: each.found.case for each in made if not each.found.case.rung}
    label = "Accuracy on tasks by arm"
    return Figure("tasks", drawn, label, reading, pd.DataFrame(data), wide=True, key=[*key.values()])


def _draw(axis: Axes, row: int, arms: Sequence[OnTask]) -> None:
    for level, half, color in ((arms[0].shortcut[1], 0.42, INK), (arms[0].majority, 0.2, MUTED)):
        axis.plot([level, level], [row - half, row + half], color=color, linewidth=1.4, zorder=1)
    step = SPREAD / max(1, len(arms) - 1)
    for i, each in enumerate(arms):
        style, y = look(each.found.case), row - SPREAD / 2 + i * step
        if each.accuracy.ends is not None:
            axis.plot(each.accuracy.ends, [y, y], color=style.color, linewidth=1.2, zorder=2)
        if each.counts.counted:
            axis.plot(each.values, [y] * each.seeds, "|", color=style.color, markersize=4, zorder=2)
        mean, shade = [fmean(each.values)], style.opacity
        axis.plot(mean, [y], style.marker, color=style.color, alpha=shade, markersize=5, zorder=3)


READING = (
    "Each model was trained on small made-up tasks, and answers questions that it has not seen. The mark is the share of right "
    "answers, the bar its 95 % interval; small strokes are single seeds, where such runs are counted. The short tick is what "
    "always giving the most frequent answer would reach, the long one the best shortcut, a rule that does not solve the task: "
    "above it a model has learned something of the task. These tasks are no measure of language."
)

PANEL = Panel(
    title="What can they still do?",
    order=8,
    span=12,
    render=render,
    draws=True,
    told=True,
    reading=READING,
    tables=[tasks.TABLE],
    lead=Lead(answer=tasks.answer, doubts=tasks.doubts, table=tasks.in_short),
)
