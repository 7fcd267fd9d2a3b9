"""Accuracy on a task: how many questions, how certain, and how accurate a rule is that does not solve the task.

With three seeds or more there are two intervals: over seeds (training varies most) and a binomial one over the questions,
which all seeds share. With one seed there is only the second, which says nothing about another seed. Where a task is all or
nothing, runs that solved it are counted in place of an interval over seeds (`solved.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.results.notes.training import TaskAnswers, TrainNotes
from modbench.harness.stats import effects
from modbench.reports.questions import solved_table
from modbench.reports.tables.cell import Cell
from modbench.reports.tables.load import Loaded

MAJORITY = "majority"


@dataclass(frozen=True)
class Accuracy:
    """One arm on one task.

    Attributes:
        case: the arm.
        value: mean accuracy over seeds.
        low: lower end of the interval over seeds (for one seed, over its questions); None if there is none.
        high: upper end.
        questions: binomial interval over the questions of one seed; all seeds answer the same ones.
        n: questions per seed.
        seeds: number of seeds.
        as_trained: accuracy when routed as in training; None where routing is the same.
        whole: share of sequences with every answer correct.
        by_kind: kind of question to (asked, correct), all seeds together.
        depth_by_kind: kind of question to the mean number of blocks that a gate ran.
        cpu_s: CPU time of a training run, mean over seeds.
        values: accuracy of each seed.
        solved: seeds that solved the task.
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
    values: tuple[float, ...]
    solved: int


@dataclass(frozen=True)
class Against:
    """An arm against the baseline, by the share of runs that solved the task.

    Attributes:
        difference: of the shares.
        low: lower end of its exact interval.
        high: upper end.
        p: exact p-value.
        verdict: among the arms of the task; None where none may be given.
        seeds: seeds that would decide it; None if it is decided, or where none follow.
        reason: in words, where it is not decided.
    """

    difference: float
    low: float
    high: float
    p: float
    verdict: str | None
    seeds: int | None
    reason: str | None


@dataclass(frozen=True)
class TaskResult:
    """The accuracy of every arm on one task.

    Attributes:
        name: the task.
        arms: arms with a value, in the plan's order.
        failed: arm to the reason why it has no value.
        majority: accuracy of always giving the most frequent answer.
        shortcut: name and accuracy of the best rule that does not solve the task.
        solved_from: accuracy from which a run has solved it.
        why_not: why runs are not compared by whether they solved it; None if they are.
        against: arm to its row of `solved.csv`, where runs are compared by count.
    """

    name: str
    arms: list[Accuracy]
    failed: dict[str, str]
    majority: float
    shortcut: tuple[str, float]
    solved_from: float
    why_not: str | None
    against: dict[str, Against]


def results(loaded: Loaded) -> list[TaskResult]:
    """Return every task that at least one arm has a result on."""
    made = list[TaskResult]()
    rows: list[Any] = list(solved_table.table(loaded).itertuples(index=False))
    for comparison in loaded.run.plan.comparisons:
        name, (key, *_) = comparison.arms[0].task, comparison.metrics
        if not name:
            continue
        arms, failed, shortcuts = list[Accuracy](), dict[str, str](), dict[str, float]()
        for case in comparison.arms:
            cell = loaded.tables.cell(case.id, key)
            trouble = cell.trouble()
            if trouble:
                failed[case.arm] = trouble.reason
                continue
            answers = [notes.answers for notes in cell.notes(TrainNotes) if notes.answers]
            shortcuts = answers[0].shortcuts or shortcuts
            arms.append(_accuracy(case, loaded.tables.estimate(case, loaded.tables.metrics[key]), cell, answers))
        if arms:
            best = max(shortcuts.items(), key=lambda pair: pair[1])
            found = loaded.tables.counts(arms[0].case, loaded.tables.metrics[key])
            assert found is not None, "an arm has a value"
            arms = [replace(arm, solved=found.of(arm.case)[0]) for arm in arms]
            against = {row.arm: _against(row) for row in rows if row.task == name and not pd.isna(row.p)}
            majority = shortcuts.get(MAJORITY, 0.0)
            made.append(TaskResult(name, arms, failed, majority, best, found.level, found.why_not, against))
    return made


def _against(row: Any) -> Against:  # noqa: ANN401  # a named tuple of a table's row
    verdict, reason = (each if isinstance(each, str) else None for each in (row.verdict, row.reason))
    needed = None if pd.isna(row.seeds_to_decide) else int(row.seeds_to_decide)
    return Against(float(row.difference), float(row.ci_low), float(row.ci_high), float(row.p), verdict, needed, reason)


def _accuracy(case: Case, effect: effects.Effect, cell: Cell, answers: list[TaskAnswers]) -> Accuracy:
    first = answers[0]
    trained = [each.correct_as_trained / each.n for each in answers if each.correct_as_trained is not None]
    kinds: dict[str, tuple[int, int]] = {}
    depths: dict[str, list[float]] = {}
    for each in answers:
        for kind, (asked, right) in each.by_kind.items():
            before = kinds.get(kind, (0, 0))
            kinds[kind] = (before[0] + asked, before[1] + right)
        for kind, depth in each.depth_by_kind.items():
            depths.setdefault(kind, []).append(depth)
    return Accuracy(
        case=case,
        value=effect.value,
        low=effect.low,
        high=effect.high,
        questions=effects.share_interval(round(effect.value * first.n), first.n),
        n=first.n,
        seeds=len(answers),
        as_trained=fmean(trained) if trained else None,
        whole=fmean(each.whole / each.n for each in answers),
        by_kind=kinds,
        depth_by_kind={kind: fmean(values) for kind, values in depths.items()},
        cpu_s=fmean(each.cpu_s for each in answers),
        values=tuple(cell.values().values()),
        solved=0,
    )


def beyond_shortcut(accuracy: Accuracy, shortcut: float, *, counted: bool = False) -> bool:
    """Whether both intervals, over seeds and over questions, lie above the best shortcut's accuracy, or every seed solved it.

    Args:
        accuracy: of an arm.
        shortcut: the best shortcut's.
        counted: whether runs are compared by whether they solved the task: there is then no interval over seeds.
    """
    if counted and accuracy.seeds > 1:
        return accuracy.solved == accuracy.seeds
    return accuracy.low is not None and min(accuracy.low, accuracy.questions[0]) > shortcut


def in_words(counts: Mapping[str, tuple[int, int]]) -> str:
    """`1 pair 99.8 %, 4 pairs 97.1 %`."""
    return ", ".join(f"{kind} {right / asked:.1%}" for kind, (asked, right) in counts.items() if asked)
