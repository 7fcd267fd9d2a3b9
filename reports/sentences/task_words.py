"""Says which arms solved which tasks, by how many of their seeds, and what that decides."""

from __future__ import annotations

from modbench.reports.questions.accuracy import Accuracy, TaskResult, results
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import is_number

VERDICTS = {"better": "better", "worse": "worse", "inconclusive": "undecided"}
# Arms that a sentence names; the rest are in solved.csv.
MOST_NAMED = 12


def in_words(loaded: Loaded) -> list[str]:
    """One sentence per task whose runs are counted and differ, then one for those that every run solved, and for the rest."""
    made = [task for task in results(loaded) if max(arm.seeds for arm in task.arms) > 1]
    counted = [task for task in made if task.why_not is None]
    all_solved = [task for task in counted if all(arm.solved == arm.seeds for arm in task.arms)]
    said = [_sentence(task) for task in counted if task not in all_solved]
    if all_solved:
        said.append(f"Every run solved {_and([task.name for task in all_solved])}.")
    by_mean = [task for task in made if task.why_not is not None]
    if by_mean:
        names = _and([task.name for task in by_mean])
        said.append(f"Compared by mean accuracy, as runs are not simply solved or not: {names}.")
    if sum(len(task.arms) - 1 for task in by_mean) <= MOST_NAMED:
        said += filter(None, [_by_mean(loaded, task) for task in by_mean])
    return said


def _sentence(task: TaskResult) -> str:
    """`retrieval, solved from 83.9%: dense 10 of 12 seeds; MoD 0.125 1 of 12 (worse, p 0.0004); ….`."""
    arms = list[str]()
    for arm in task.arms[:MOST_NAMED]:
        against = against_in_words(task, arm)
        arms.append(
            f"{name(arm.case)} {arm.solved} of {arm.seeds}{' seeds' * (not arms)}{f' ({against})' * bool(against)}"
        )
    more = len(task.arms) - MOST_NAMED
    arms += [f"{more} more in solved.csv"] if more > 0 else []
    return f"{task.name}, solved from {task.solved_from:.1%}: {'; '.join(arms)}."


def _by_mean(loaded: Loaded, task: TaskResult) -> str:
    """`nli_templates: MoD 0.125 -2.7 points against dense [-13.0, +7.6], undecided; ….`; empty where no arm has an interval."""
    arms, allowed = list[str](), False
    for arm in task.arms:
        row = loaded.pair(arm.case.arm, f"task/{task.name}")
        if row is not None and row.status == "ok" and is_number(row.ci_low):
            difference, low, high = (100 * float(end) for end in (row.difference, row.ci_low, row.ci_high))
            given = row.verdict if isinstance(row.verdict, str) else None  # pandas has nan where there is none
            verdict = "" if given is None else f", {VERDICTS.get(given, given)}"
            against = f" against {name(loaded.arms[0])}" * (not arms)
            arms.append(f"{name(arm.case)} {difference:+.1f} points{against} [{low:+.1f}, {high:+.1f}]{verdict}")
            allowed |= given == "inconclusive" and low * high > 0
    why = " Verdicts allow for the number of arms." * allowed
    return f"{task.name}: {'; '.join(arms)}.{why}" if arms else ""


def against_in_words(task: TaskResult, arm: Accuracy) -> str:
    """Say how an arm compares with the baseline: `worse, p 0.0004`; empty for the baseline, and where runs are not counted."""
    found = task.against.get(arm.case.arm)
    if found is None:
        return ""
    said = (
        f"p {found.p:.2g}"
        if found.verdict is None
        else f"{VERDICTS.get(found.verdict, found.verdict)}, p {found.p:.2g}"
    )
    return f"{said}; {found.seeds} seeds would decide" if found.seeds is not None else said


def how(task: TaskResult) -> str:
    """Say how the runs on a task are compared."""
    if task.why_not is not None:
        return f"{task.name}: {task.why_not}."
    return f"{task.name}: solved from {task.solved_from:.1%}; counts compared by an exact test."


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
