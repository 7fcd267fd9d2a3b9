"""Accuracy on a task: how many questions, how sure, and what a rule reaches that does not solve it.

With three seeds or more there are two intervals: over seeds (training is what varies most) and the binomial one over the
questions, which are the same for all seeds. With one seed there is only the second, which says nothing about another seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modbench.harness.core.case import Case
from modbench.harness.planning.expand import TASK
from modbench.harness.stats import effects
from modbench.reports.load import Loaded
from modbench.reports.tables import Cell

MAJORITY = "majority"


@dataclass(frozen=True)
class Accuracy:
    """One arm on one task.

    Attributes:
        case: the arm.
        value: mean accuracy over seeds.
        low: lower end of the interval over seeds (of one seed, over its questions); None where there is none.
        high: upper end.
        questions: the binomial interval, over the questions of one seed: all seeds answer the same ones.
        n: questions of every seed.
        seeds: how many.
        as_trained: accuracy routed as while training; None where that is no other way.
        whole: share of sequences with every answer right.
        by_kind: kind of question to (asked, right), all seeds together.
        depth_by_kind: blocks run on average, of a gate.
        cpu_s: CPU time of a training run, mean over seeds.
    """

    case: Case
    value: float
    low: float | None
    high: float | None
    questions: tuple[float, float]
    n: int
    seeds: int
    as_trained: float | None
    whole: float
    by_kind: dict[str, tuple[int, int]]
    depth_by_kind: dict[str, float]
    cpu_s: float


@dataclass(frozen=True)
class TaskResult:
    """What came of a task.

    Attributes:
        name: of the task.
        arms: those that have a value, in the plan's order.
        failed: arm to why it has none.
        majority: accuracy of the most frequent answer.
        shortcut: name and accuracy of the best rule that does not solve the task.
    """

    name: str
    arms: list[Accuracy]
    failed: dict[str, str]
    majority: float
    shortcut: tuple[str, float]


def results(loaded: Loaded) -> list[TaskResult]:
    """Every task of a run that some arm was trained on."""
    made = []
    for comparison in loaded.run.plan.comparisons:
        name = comparison.arms[0].task
        if not name:
            continue
        arms, failed, shortcuts = list[Accuracy](), dict[str, str](), dict[str, float]()
        for case in comparison.arms:
            cell = loaded.tables.cell(case.id, TASK + name)
            trouble = cell.trouble()
            if trouble:
                failed[case.arm] = trouble[1]
                continue
            shortcuts = cell.note("shortcuts") or shortcuts
            arms.append(_accuracy(case, cell))
        if arms:
            best = max(shortcuts.items(), key=lambda pair: pair[1])
            made.append(TaskResult(name, arms, failed, shortcuts.get(MAJORITY, 0.0), best))
    return made


def _accuracy(case: Case, cell: Cell) -> Accuracy:
    notes = [outcome.notes for outcome in cell.good().values()]
    effect = cell.over_seeds()
    trained = [note["correct_as_trained"] / note["n"] for note in notes if note["correct_as_trained"] is not None]
    kinds: dict[str, tuple[int, int]] = {}
    for note in notes:
        for kind, (asked, right) in note["by_kind"].items():
            before = kinds.get(kind, (0, 0))
            kinds[kind] = (before[0] + asked, before[1] + right)
    return Accuracy(
        case=case,
        value=effect.value,
        low=effect.low,
        high=effect.high,
        questions=effects.share_interval(round(effect.value * notes[0]["n"]), notes[0]["n"]),
        n=notes[0]["n"],
        seeds=len(notes),
        as_trained=sum(trained) / len(trained) if trained else None,
        whole=sum(note["whole"] / note["n"] for note in notes) / len(notes),
        by_kind=kinds,
        depth_by_kind=_mean_over(notes, "depth_by_kind"),
        cpu_s=sum(note["cpu_s"] for note in notes) / len(notes),
    )


def _mean_over(notes: list[dict[str, dict[str, float]]], key: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for note in notes:
        for kind, value in note[key].items():
            found.setdefault(kind, []).append(value)
    return {kind: sum(values) / len(values) for kind, values in found.items()}


def beyond_shortcut(accuracy: Accuracy, shortcut: float) -> bool:
    """Whether both intervals, over seeds and over questions, lie above what the best shortcut reaches."""
    return accuracy.low is not None and min(accuracy.low, accuracy.questions[0]) > shortcut


def flat(counts: Mapping[str, tuple[int, int]]) -> str:
    """`1 pair 99.8 %, 4 pairs 97.1 %`."""
    return ", ".join(f"{kind} {right / asked:.1%}" for kind, (asked, right) in counts.items() if asked)
