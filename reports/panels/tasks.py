"""Accuracy on tasks at equal training FLOPs, beside rules that do not solve the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.core.case import Case
from modbench.reports.figures.style import INK, MUTED, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.questions import solved_table
from modbench.reports.questions.accuracy import TaskResult, beyond_shortcut, in_words, results
from modbench.reports.sentences.task_words import against_in_words, how
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording.arm_names import name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAD = (
    *("Task", "n", "Majority", "Best shortcut", "Arm", "Accuracy [95 % over seeds]", "Solved", "Against the baseline"),
    *("95 % binomial", "As trained", "All of a sequence", "CPU s"),
)
KINDS = ("Task", "Arm", "Accuracy by kind", "Blocks run by kind")
SPREAD = 0.62  # share of a task's row over which its arms are spread


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a dot plot, the numbers, and accuracy by kind of question."""
    made = results(loaded)
    if not made:
        return
    yield _figure(loaded, made)
    yield Table("Accuracy on tasks", HEAD, [row for task in made for row in _rows(task)])
    yield Note(
        "n: held-out questions of each seed, one per sequence. ▲ beyond the best shortcut: both intervals, or where runs are "
        "counted every seed. As trained: routed by top-k over the sequence, where that differs. CPU s: of a training run."
    )
    yield Note(" ".join(how(task) for task in made))
    yield Table("By kind of question, and how deep gates went", KINDS, _kinds(made), folded=True)


def _figure(loaded: Loaded, made: list[TaskResult]) -> Figure:
    drawn, (axis,) = new_figure(9.0, 0.9 + 0.62 * len(made))
    for row, task in enumerate(made):
        _draw(axis, row, task)
    axis.set_yticks(range(len(made)), [task.name for task in made])
    axis.set_ylim(len(made) - 0.45, -0.55)
    axis.set_xlim(0, 1.02)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_title("accuracy on held-out questions (further right is better)")
    anchor = name(made[0].arms[0].case)
    reading = (
        f"Every arm spends the training FLOPs that {anchor} spends on the task's steps; {seeds_in_words(loaded)}. Bars: 95 % "
        "intervals; small strokes: single seeds, where a task is all or nothing. Long tick: the best shortcut, a rule that does "
        "not solve the task; short tick: always the most frequent answer. Routing is causal."
    )
    data = [
        {
            "task": task.name,
            "arm": arm.case.arm,
            "accuracy": arm.value,
            "ci_low": arm.low,
            "ci_high": arm.high,
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
    key = [case for case in _cases(made) if not case.rung]
    return Figure("tasks", drawn, "Accuracy on tasks by arm", reading, pd.DataFrame(data), wide=True, key=key)


def _draw(axis: Axes, row: int, task: TaskResult) -> None:
    for level, half in ((task.shortcut[1], 0.42), (task.majority, 0.2)):
        axis.plot([level, level], [row - half, row + half], color=INK if half > 0.3 else MUTED, linewidth=1.4, zorder=1)
    step = SPREAD / max(1, len(task.arms) - 1)
    for i, arm in enumerate(task.arms):
        style, y = look(arm.case), row - SPREAD / 2 + i * step
        if arm.low is not None and arm.high is not None:
            axis.plot([arm.low, arm.high], [y, y], color=style.color, linewidth=1.2, zorder=2)
        if task.why_not is None:
            axis.plot(arm.values, [y] * arm.seeds, "|", color=style.color, markersize=4, zorder=2)
        axis.plot([arm.value], [y], style.marker, color=style.color, alpha=style.opacity, markersize=5, zorder=3)


def _cases(made: list[TaskResult]) -> list[Case]:
    first: dict[str, Case] = {}
    for task in made:
        for arm in task.arms:
            first.setdefault(
                arm.case.model + "-".join(arm.case.arm_parts[:1]) if arm.case.rung else arm.case.arm, arm.case
            )
    return list(first.values())


def _rows(task: TaskResult) -> Iterator[Sequence[Value]]:
    for i, arm in enumerate(task.arms):
        shortcut, accuracy = (Estimate(share, kind="share") for share in (task.shortcut[1], task.majority))
        best = Sentence("{share} ({rule})", share=shortcut, rule=task.shortcut[0])
        counted = task.why_not is None
        over_seeds = Estimate(arm.value, kind="share")
        if arm.seeds > 1:
            over_seeds = replace(over_seeds, low=arm.low, high=arm.high)
        mark = "▲ {share}" if beyond_shortcut(arm, task.shortcut[1], counted=counted) else "{share}"
        yield (
            *((task.name, arm.n, accuracy, best) if i == 0 else ("", "", "", "")),
            arm.case,
            Sentence(mark, share=over_seeds),
            Sentence("{solved} of {seeds}", solved=arm.solved, seeds=arm.seeds) if counted else None,
            against_in_words(task, arm) or None,
            Estimate(None, *arm.questions, kind="share"),
            None if arm.as_trained is None else Estimate(arm.as_trained, kind="share"),
            Estimate(arm.whole, kind="share"),
            Estimate(arm.cpu_s, kind="count"),
        )
    for failed, why in task.failed.items():
        yield "", "", "", "", failed, f"failed: {why}", *[""] * 6


def _kinds(made: list[TaskResult]) -> list[Sequence[Value]]:
    """Return a row per arm with accuracy by kind of question, which reveals plateaus and shortcuts."""
    return [
        (
            task.name if i == 0 else "",
            arm.case,
            in_words(arm.by_kind),
            ", ".join(f"{kind} {depth:.2f}" for kind, depth in arm.depth_by_kind.items()) or None,
        )
        for task in made
        for i, arm in enumerate(task.arms)
    ]


READING = (
    "Each model was trained on small made-up tasks, and answers questions that it has not seen. The mark is the share"
    " of right answers; the lines show what guessing the most frequent answer and the best shortcut would reach. "
    "Above the shortcut a model has learned something of the task. These tasks are no measure of language."
)

PANEL = Panel(
    title="What can they still do?",
    order=8,
    span=12,
    render=render,
    draws=True,
    reading=READING,
    tables={"solved": solved_table.table},
)
