"""Accuracy on tasks at equal training FLOPs, beside rules that do not solve the tasks."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import INK, MUTED, look, new_figure
from modbench.reports.model import Block, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import tasks
from modbench.reports.questions.tasks import TaskResult
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = 0.62  # share of a task's row over which its arms are spread


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a dot plot, the numbers, and accuracy by kind of question."""
    made = tasks.results(loaded)
    if not made:
        return
    yield _figure(loaded, made)
    yield from tasks.blocks(loaded)


def _figure(loaded: Loaded, made: list[TaskResult]) -> Figure:
    drawn, (axis,) = new_figure(9.0, 0.9 + 0.62 * len(made))
    for row, task in enumerate(made):
        _draw(axis, row, task)
    axis.set_yticks(range(len(made)), [task.name for task in made])
    axis.set_ylim(len(made) - 0.45, -0.55)
    axis.set_xlim(0, 1.02)
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.set_title("accuracy on held-out questions (further right is better)")
    reading = Sentence(
        "Every arm spends the training FLOPs that {anchor} spends on the task's steps; {seeds}. Routing is causal.",
        anchor=made[0].arms[0].case,
        seeds=seeds_in_words(loaded, max(arm.seeds for task in made for arm in task.arms)),
    )
    data = [
        {
            "task": task.name,
            "arm": arm.case.arm,
            **columns_of(arm.value, "accuracy"),
            "questions": arm.n,
            "seeds": arm.seeds,
            "majority": task.majority,
            "shortcut": task.shortcut[0],
            "shortcut_accuracy": task.shortcut[1],
            "solved_from": task.solved_from,
            "solved": arm.solved,
        }
        for task in made
        for arm in task.arms
    ]
    arms = {arm.case.arm: arm.case for task in made for arm in task.arms if not arm.case.rung}
    label = "Accuracy on tasks by arm"
    return Figure("tasks", drawn, label, reading, pd.DataFrame(data), wide=True, key=[*arms.values()])


def _draw(axis: Axes, row: int, task: TaskResult) -> None:
    for level, half in ((task.shortcut[1], 0.42), (task.majority, 0.2)):
        axis.plot([level, level], [row - half, row + half], color=INK if half > 0.3 else MUTED, linewidth=1.4, zorder=1)
    step = SPREAD / max(1, len(task.arms) - 1)
    for i, arm in enumerate(task.arms):
        style, y = look(arm.case), row - SPREAD / 2 + i * step
        if arm.value.ends is not None:
            axis.plot(arm.value.ends, [y, y], color=style.color, linewidth=1.2, zorder=2)
        if task.counted:
            axis.plot(arm.values, [y] * arm.seeds, "|", color=style.color, markersize=4, zorder=2)
        axis.plot(
            [fmean(arm.values)], [y], style.marker, color=style.color, alpha=style.opacity, markersize=5, zorder=3
        )


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
    tables={"solved": tasks.table},
    lead=Lead(answer=tasks.answer, doubts=tasks.doubts, table=tasks.in_short),
)
