"""Which arms solve which tasks: accuracy beside rules that do not solve them, and runs that solved a task by count.

With three seeds or more there are two intervals: over seeds (training varies most) and a binomial one over the questions,
which all seeds share. With one seed there is only the second, which says nothing about another seed. Where the suite says so,
runs that solved a task are counted in place of an interval over seeds (`tables/solved.py`); `solved.csv` has all counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from modbench.harness.domain.case import Case, Comparison
from modbench.harness.domain.notes import TaskAnswers, TrainNotes
from modbench.harness.stats import effects, exact_two_proportions, solved
from modbench.harness.stats.contrast import BETTER, DIFFERENT, EQUIVALENT, INCONCLUSIVE, WORSE
from modbench.harness.stats.effects import LEVEL
from modbench.reports.model import (
    Block,
    Code,
    Estimate,
    Finding,
    Listed,
    Note,
    Sentence,
    Table,
    Value,
    Verdict,
    known_text,
)
from modbench.reports.questions.results import filled
from modbench.reports.tables import best_arms
from modbench.reports.tables.cell import Cell, columns_of
from modbench.reports.tables.comparisons import SMOKE
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.solved import Counts
from modbench.reports.writers.data import frame

COLUMNS = (
    *("task", "arm", "model", "baseline_arm", "shortcut", "solved_from", "solved", "seeds", "baseline_solved"),
    *("baseline_seeds", "difference", "ci_low", "ci_high", "ci_level", "p", "p_adjusted", "verdict", "seeds_to_decide"),
    *("status", "reason", "look", "looks"),
)
WHOLE = ("solved", "seeds", "baseline_solved", "baseline_seeds", "seeds_to_decide", "look", "looks")
NUMBERS = ("shortcut", "solved_from", "difference", "ci_low", "ci_high", "ci_level", "p", "p_adjusted")
HEAD = ("Task", "Best shortcut", "Arm", "Accuracy [95 % over seeds]", "Solved", "Against the baseline")
MORE = ("Task", "n", "Majority", "Arm", "95 % binomial", "As trained", "All of a sequence", "CPU s")
KINDS = ("Task", "Arm", "Accuracy by kind", "Blocks run by kind")
MAJORITY = "majority"
# Arms that a sentence names; the rest are in solved.csv.
MOST_NAMED = 12
# Arms that the answer is about, and tasks that it names of those with one verdict; the rest are counted.
MOST_ANSWERED, MOST_TASKS = 2, 3
# Verdicts in the order of the answer, as words behind an arm; None: none may be given.
ANSWERED = {
    WORSE: WORSE,
    BETTER: BETTER,
    DIFFERENT: DIFFERENT,
    EQUIVALENT: "equal",
    INCONCLUSIVE: "undecided",
    None: "no claim",
}


@dataclass(frozen=True)
class Accuracy:
    """One arm on one task.

    Attributes:
        case: the arm.
        value: mean accuracy over seeds, with the interval over seeds if there is one (for one seed, over its questions).
        questions: binomial interval over the questions of one seed; all seeds answer the same ones.
        n: questions per seed.
        as_trained: accuracy when routed as in training; None where routing is the same.
        whole: share of sequences with every answer correct.
        by_kind: kind of question to (asked, correct), all seeds together.
        depth_by_kind: kind of question to the mean number of blocks that a gate ran.
        cpu_s: CPU time of a training run, mean over seeds.
        values: accuracy of each seed.
        solved: seeds that solved the task.
        against: what is found against the baseline: by the share of runs that solved the task where these are counted, else by
            mean accuracy; None where there is no interval.
        p: exact p-value of two counts.
    """

    case: Case
    value: Estimate
    questions: Estimate
    n: int
    as_trained: float | None
    whole: float
    by_kind: Mapping[str, tuple[int, int]]
    depth_by_kind: Mapping[str, float]
    cpu_s: float
    values: tuple[float, ...]
    solved: int
    against: Finding | None = None
    p: float | None = None

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.values)


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
        counted: whether arms are compared by how many of their runs solved it: there is then no interval over seeds.
    """

    name: str
    arms: Sequence[Accuracy]
    failed: Mapping[str, str]
    majority: float
    shortcut: tuple[str, float]
    solved_from: float
    counted: bool

    def beyond_shortcut(self, arm: Accuracy) -> bool:
        """Whether both intervals, over seeds and over questions, lie above the best shortcut, or every seed solved the task."""
        if self.counted and arm.seeds > 1:
            return arm.solved == arm.seeds
        ends = arm.value.low, arm.questions.low
        return all(end is not None and end > self.shortcut[1] for end in ends)


def results(loaded: Loaded) -> list[TaskResult]:
    """Return every task that at least one arm has a result on."""
    made, tables = list[TaskResult](), loaded.tables
    for comparison in loaded.plan.comparisons:
        metric = tables.metrics[comparison.metrics[0]]
        counts = tables.counts(comparison.arms[0], metric)
        if counts is None:
            continue
        arms, failed, shortcuts = list[Accuracy](), dict[str, str](), dict[str, float]()
        baseline = tables.baseline_of(comparison)
        against = {row["arm"]: row for row in _rows(loaded, comparison) if row.get("p") is not None}
        for case in comparison.arms:
            cell = tables.cell(case.id, metric.key)
            if trouble := cell.trouble():
                failed[case.arm] = trouble.reason
                continue
            answers = [notes.answers for notes in cell.notes(TrainNotes) if notes.answers]
            shortcuts = answers[0].shortcuts or shortcuts
            arm = _accuracy(case, tables.estimate(case, metric), cell, answers, counts.of(case)[0])
            row = against.get(case.arm)
            arms.append(_by_mean(loaded, arm, metric.key) if row is None else _beside(arm, baseline, row))
        best, majority = max(shortcuts.items(), key=lambda pair: pair[1]), shortcuts.get(MAJORITY, 0.0)
        made.append(TaskResult(metric.task, arms, failed, majority, best, counts.level, counts.counted))
    return made


def _by_mean(loaded: Loaded, arm: Accuracy, key: str) -> Accuracy:
    """Add how the mean accuracy differs from the baseline's, where it has an interval."""
    row = loaded.pair(arm.case.arm, key)
    found = None if row is None else of_row(row, arm.case, loaded.baseline)
    return replace(arm, against=found) if found is not None and found.typical.closed else arm


def _beside(arm: Accuracy, baseline: Case, row: Mapping[str, Any]) -> Accuracy:
    """Add what a row of `solved.csv` says."""
    found = Finding(
        arm.case,
        baseline,
        arm.case.place,
        typical=Estimate(row["difference"], row["ci_low"], row["ci_high"], "difference", "ratio"),
        verdict=row["verdict"],
        reason=row["reason"],
        needed=row["seeds_to_decide"],
    )
    return replace(arm, against=found, p=row["p"])


def _accuracy(case: Case, effect: effects.Effect, cell: Cell, answers: list[TaskAnswers], solved: int) -> Accuracy:
    n = answers[0].n
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
        value=Estimate.of_interval(effect, "share", n=len(answers)),
        questions=Estimate(None, *effects.share_interval(round(effect.value * n), n), "share", n=n),
        n=n,
        as_trained=fmean(trained) if trained else None,
        whole=fmean(each.whole / each.n for each in answers),
        by_kind=kinds,
        depth_by_kind={kind: fmean(values) for kind, values in depths.items()},
        cpu_s=fmean(each.cpu_s for each in answers),
        values=tuple(cell.values().values()),
        solved=solved,
    )


# --- solved.csv


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `solved.csv`; empty where no task has a result."""
    rows = (row for comparison in loaded.plan.comparisons for row in _rows(loaded, comparison))
    return frame(rows, COLUMNS, numbers=NUMBERS, whole=WHOLE)


def _rows(loaded: Loaded, comparison: Comparison) -> list[dict[str, Any]]:
    metric = loaded.tables.metrics[comparison.metrics[0]] if comparison.metrics else None
    if metric is None or not metric.task:
        return []
    found = loaded.tables.counts(comparison.arms[0], metric)
    if found is None:
        return []
    baseline = loaded.tables.baseline_of(comparison)
    rows = []
    for case in comparison.arms:
        row: dict[str, Any] = {
            "task": metric.task,
            "arm": case.arm,
            "model": case.model,
            "shortcut": found.shortcut,
            "solved_from": found.level,
        }
        trouble = loaded.tables.trouble(case, metric)
        if trouble is not None or case.id not in found.seeds:
            why = trouble or ("skipped", "no answers were recorded")
            rows.append(row | {"status": why[0], "reason": why[1]})
            continue
        mine, n = found.of(case)
        row |= {"solved": mine, "seeds": n, "status": "ok"}
        row |= {"reason": None if found.counted else "compared by mean accuracy: tasks.counted does not name the task"}
        rows.append(row if case.arm == baseline.arm else row | _compared(loaded, found, case, baseline, metric.key))
    return rows


def _compared(loaded: Loaded, found: Counts, case: Case, baseline: Case, key: str) -> dict[str, Any]:
    """Columns that compare an arm with the baseline; empty where runs are not compared by count."""
    row: dict[str, Any] = {"baseline_arm": baseline.arm}
    if baseline.id not in found.seeds:
        return row | {"reason": "the baseline has no value"}
    theirs, other_n = found.of(baseline)
    row |= {"baseline_solved": theirs, "baseline_seeds": other_n}
    analysis = found.analysis(case, baseline)
    row |= {"look": analysis.number, "looks": len(analysis.fractions)}
    if not found.counted:
        return row
    effect, pair = found.effect(case, baseline), loaded.pair(case.arm, key)
    verdict = None if pair is None else known_text(pair.verdict)
    more = _seeds_to_decide(found, case, baseline) if verdict == INCONCLUSIVE else None
    return row | {
        **columns_of(effect, "difference"),
        "ci_level": LEVEL,
        "p": effect.p,
        "p_adjusted": None if pair is None else pair.p_adjusted,
        "verdict": verdict,
        "seeds_to_decide": more,
        "reason": _reason(loaded, verdict, effect.value, more),
    }


def _reason(loaded: Loaded, verdict: str | None, difference: float, more: int | None) -> str | None:
    if verdict is None:
        return None if loaded.suite.claims else SMOKE
    if verdict != INCONCLUSIVE:
        return None
    if difference == 0:
        return "as many runs of either solved it: no number of seeds follows from that"
    if more is None:
        return f"not even {exact_two_proportions.MOST_SEEDS} seeds would decide it at these rates with 80 % power"
    return f"{more} seeds would decide it at these rates with 80 % power"


def _seeds_to_decide(found: Counts, case: Case, baseline: Case) -> int | None:
    """Return the seeds of each arm that tell the observed rates apart; None: more than 100, or the rates are equal."""
    (mine, n), (theirs, other_n) = found.of(case), found.of(baseline)
    needed = exact_two_proportions.seeds_needed(mine / n, theirs / other_n, solved.level_among(len(found.seeds) - 1))
    return None if needed is None else max(needed, min(n, other_n) + 1)


# --- in tables and sentences


def answer(loaded: Loaded) -> Iterator[Sentence]:
    """Say at which tasks arms are better or worse than the baseline; of a run that compares other things too, nothing."""
    made = results(loaded)
    if not made or not all(each.arms[0].task for each in loaded.plan.comparisons):
        return
    base, *arms = loaded.arms
    for case in arms[:MOST_ANSWERED]:
        verdicts: dict[str | None, list[str]] = {verdict: [] for verdict in ANSWERED}
        for task in made:
            for arm in task.arms:
                if arm.case.arm == case.arm:
                    verdicts[arm.against.verdict if arm.against else None].append(task.name)
        said = [(ANSWERED[verdict], tasks) for verdict, tasks in verdicts.items() if tasks]
        said += [("failed", tasks)] if (tasks := [task.name for task in made if case.arm in task.failed]) else []
        parts = [
            Sentence(f"{word} at {{tasks}}", tasks=Listed(tasks, last=" and ", most=MOST_TASKS)) for word, tasks in said
        ]
        if parts:
            yield Sentence("{arm} against {base}: {parts}.", arm=case, base=base, parts=Listed(parts, "; "))
    if len(arms) > MOST_ANSWERED:
        yield Sentence("{n:more arm|more arms}: see the table.", n=len(arms) - MOST_ANSWERED)


def sentences(loaded: Loaded) -> Iterator[Sentence]:
    """Say which arms solved which tasks, where runs are counted, and how accuracies differ where they are not."""
    made = [task for task in results(loaded) if max(arm.seeds for arm in task.arms) > 1]
    counted = [task for task in made if task.counted]
    all_solved = [task for task in counted if all(arm.solved == arm.seeds for arm in task.arms)]
    yield from (_solved(task) for task in counted if task not in all_solved)
    if all_solved:
        yield Sentence("Every run solved {tasks}.", tasks=_names(all_solved))
    by_mean = [task for task in made if not task.counted]
    if by_mean:
        yield Sentence("Compared by mean accuracy: {tasks}.", tasks=_names(by_mean))
    if sum(len(task.arms) - 1 for task in by_mean) <= MOST_NAMED:
        yield from filter(None, (_means(loaded, task) for task in by_mean))
    yield from looks(loaded)


def looks(loaded: Loaded) -> Iterator[Sentence]:
    """Say whose seeds are pooled, and that verdicts allow for looking several times; nothing of one look at one run."""
    sets, planned = loaded.run.sets, loaded.suite.tasks.looks
    if sets:
        runs = [Sentence("{n} of {run}", n=len(each.seeds), run=Code(str(each.run))) for each in sets]
        yield Sentence(
            "Pooled: {n:seed}, {runs}.", n=sum(len(each.seeds) for each in sets), runs=Listed(runs, last=" and ")
        )
    number = max(1, len(sets))
    if (most := max(number, planned)) > 1 and results(loaded):
        yield Sentence(
            "This is look {number} of {most} at the seeds: intervals and verdicts allow for {all} of them together.",
            number=number,
            most=most,
            all="both" if most == 2 else "all",
        )


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Say where more sets of seeds were looked at than the suite planned."""
    sets, planned = loaded.run.sets, loaded.suite.tasks.looks
    if len(sets) > planned:
        words = "{n:set} of seeds are pooled, and the suite planned {planned:look} (tasks.looks): if an earlier set was judged "
        words += "as the last one, the error of all looks together is above 5 %."
        yield Sentence(words, n=len(sets), planned=planned)


def _names(tasks: Sequence[TaskResult]) -> Listed:
    return Listed([task.name for task in tasks], last=" and ")


def _solved(task: TaskResult) -> Sentence:
    """`retrieval, solved from 83.9 %: dense 10 of 12 seeds; MoD 0.125 1 of 12 (▼ worse, p 0.0004); …`."""
    arms = list[Value]()
    for arm in task.arms[:MOST_NAMED]:
        words = "{arm} {solved} of {all}" + " seeds" * (not arms) + " ({against})" * (arm.against is not None)
        arms.append(Sentence(words, arm=arm.case, solved=arm.solved, all=arm.seeds, against=against(arm)))
    more = len(task.arms) - MOST_NAMED
    arms += [Sentence("{more} more in solved.csv", more=more)] * (more > 0)
    level = Estimate(task.solved_from, kind="share")
    return Sentence("{task}, solved from {level}: {arms}.", task=task.name, level=level, arms=Listed(arms, "; "))


def _means(loaded: Loaded, task: TaskResult) -> Sentence | None:
    """`copy against dense: MoD 0.125 -2.7 points [-13.0, +7.6] ? undecided; …`; None where no arm has an interval."""
    arms, allowed = list[Value](), False
    for arm in task.arms:
        if (found := arm.against) is not None:
            arms.append(Sentence("{arm} {found}", arm=arm.case, found=found))
            apart = (found.typical.low or 0.0) * (found.typical.high or 0.0) > 0
            allowed |= found.verdict == INCONCLUSIVE and apart
    words = "{task} against {base}: {arms}." + " Verdicts allow for the number of arms." * allowed
    return Sentence(words, task=task.name, base=loaded.baseline, arms=Listed(arms, "; ")) if arms else None


def against(arm: Accuracy) -> Sentence | None:
    """Return how an arm compares with the baseline: `▼ worse, p 0.0004`, or by its mean; None where there is no interval."""
    found = arm.against
    if found is None:
        return None
    if arm.p is None:
        return Sentence("{found}", found=found)
    words = "{verdict}, p {p}" if found.verdict is not None else "p {p}"
    words += "; {needed} seeds would decide" * (found.needed is not None)
    p, verdict = Estimate(arm.p, kind="p"), Verdict(found.verdict, timed=False)
    return Sentence(words, verdict=verdict, p=p, needed=found.needed)


def in_short(loaded: Loaded) -> Table | None:
    """Return accuracy by arm and task, with the seeds that solved it or half its interval; None where no task has a result."""
    made = results(loaded)
    rows = filled([case, *(_cell(task, case.arm) for task in made)] for case in loaded.arms)
    rows.append(["best shortcut", *(Estimate(task.shortcut[1], kind="share") for task in made)])
    return Table("accuracy", ("", *(task.name for task in made)), rows) if made else None


def _cell(task: TaskResult, arm: str) -> Value:
    for each in task.arms:
        if each.case.arm == arm:
            value = each.value.alone
            if task.counted and each.seeds > 1:
                return Sentence("{value} {solved}/{seeds}", value=value, solved=each.solved, seeds=each.seeds)
            half = each.value.half if each.value.closed else each.questions.half
            return Sentence("{value} ±{half}", value=value, half=Estimate(half, kind="share"))
    return "failed" if arm in task.failed else ""


def blocks(loaded: Loaded) -> Iterator[Block]:
    """Return the numbers of every task, how its runs are compared, and accuracy by kind of question."""
    made = results(loaded)
    if not made:
        return
    yield Table("Accuracy on tasks", HEAD, [row for task in made for row in _shown(task)])
    if taken := loaded.plan.arms_from:
        yield Note(best_arms.sentence(taken))
    how = [*(_how(task) for task in made), *looks(loaded)]
    yield Note(Listed(["▲ beyond the best shortcut: both intervals, or where runs are counted every seed.", *how], " "))
    yield Table("Questions, routing and cost", MORE, [row for task in made for row in _more(task)], folded=True)
    yield Note(
        "n: held-out questions of each seed, one per sequence. As trained: routed by top-k over the sequence, where that "
        "differs. CPU s: of a training run."
    )
    yield Table("By kind of question, and how deep gates went", KINDS, _kinds(made), folded=True)


def _shown(task: TaskResult) -> Iterator[Sequence[Value]]:
    for i, arm in enumerate(task.arms):
        rule, shortcut = task.shortcut[0], Estimate(task.shortcut[1], kind="share")
        best = Sentence("{share} ({rule})", share=shortcut, rule=rule)
        over_seeds = arm.value if arm.seeds > 1 else arm.value.alone
        yield (
            *((task.name, best) if i == 0 else ("", "")),
            arm.case,
            Sentence("▲ " * task.beyond_shortcut(arm) + "{share}", share=over_seeds),
            Sentence("{solved} of {seeds}", solved=arm.solved, seeds=arm.seeds) if arm.seeds > 1 else None,
            against(arm),
        )
    for failed, why in task.failed.items():
        yield "", "", failed, Sentence("failed: {why}", why=why), "", ""


def _more(task: TaskResult) -> Iterator[Sequence[Value]]:
    for i, arm in enumerate(task.arms):
        yield (
            *((task.name, arm.n, Estimate(task.majority, kind="share")) if i == 0 else ("", "", "")),
            arm.case,
            arm.questions,
            None if arm.as_trained is None else Estimate(arm.as_trained, kind="share"),
            Estimate(arm.whole, kind="share"),
            Estimate(arm.cpu_s, kind="count"),
        )


def _how(task: TaskResult) -> Sentence:
    """Say how the runs on a task are compared."""
    if not task.counted:
        return Sentence("{task}: compared by mean accuracy.", task=task.name)
    words = "{task}: solved from {level}; counts compared by an exact test."
    return Sentence(words, task=task.name, level=Estimate(task.solved_from, kind="share"))


def _kinds(made: Sequence[TaskResult]) -> list[Sequence[Value]]:
    """Return a row per arm with accuracy by kind of question, which reveals plateaus and shortcuts."""
    return [
        (
            task.name if i == 0 else "",
            arm.case,
            _listed({kind: Estimate(right / n, kind="share") for kind, (n, right) in arm.by_kind.items() if n}),
            _listed({kind: Estimate(depth, kind="fraction") for kind, depth in arm.depth_by_kind.items()}),
        )
        for task in made
        for i, arm in enumerate(task.arms)
    ]


def _listed(of_kinds: Mapping[str, Estimate]) -> Listed | None:
    """`1 pair 99.8 %, 4 pairs 97.1 %`; None where there is none."""
    made = [Sentence("{kind} {value}", kind=kind, value=value) for kind, value in of_kinds.items()]
    return Listed(made) if made else None
