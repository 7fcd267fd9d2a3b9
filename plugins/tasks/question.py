"""Which variants solve which tasks: accuracy, with that of rules that do not solve them, and runs that solved a task by count.

With three seeds or more there are two intervals: over seeds (training varies most) and a binomial one over the questions,
which all seeds share. With one seed there is only the second, which says nothing about another seed. Where the suite says so,
runs that solved a task are counted in place of an interval over seeds (`counts.py`); `solved.csv` has all counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from modbench.extend import (
    INCONCLUSIVE,
    LEVEL,
    SMOKE,
    Analysis,
    Case,
    Code,
    DataTable,
    Estimate,
    Finding,
    Listed,
    Loaded,
    Sentence,
    Table,
    Trouble,
    Value,
    best_variants,
    count,
    effects,
    interval,
    known_text,
    number,
    of_row,
    pivot,
    seeds_in_words,
    text,
    verdict_words,
)
from modbench.extend import AnyMetric as Metric
from modbench.plugins.tasks import exact_two_proportions, solved
from modbench.plugins.tasks.counts import Counts
from modbench.plugins.tasks.table import TaskPlan, task_of

READING = "accuracy on held-out questions, and its difference to the baseline; n/m: n of m seeds solved the task"
BY_MEAN = "compared by mean accuracy: tasks.counted does not name the task"
UNDECIDABLE = f"no number of seeds up to {exact_two_proportions.MOST_SEEDS} decides it at these rates with 80 % power"
# Variants that the answer is about, and tasks that it names; the rest are counted.
MOST_ANSWERED, MOST_TASKS = 2, 4


@dataclass(frozen=True)
class OnTask:
    """One variant on one task.

    Attributes:
        task: the task.
        counts: how many runs of each variant solved it, and from which accuracy on a run has.
        found: the mean accuracy, with the interval over seeds if there is one (for one seed, over its questions), and what is
            found against the baseline: by the share of runs that solved the task where these are counted, else by mean accuracy.
        values: accuracy of each seed.
        test: the exact test of its count against the baseline's; None where counts are not compared.
        p_adjusted: its p-value among the variants of the task.
        look: which interim analysis it is; None where it is not compared with the baseline.
    """

    task: str
    counts: Counts
    found: Finding
    values: tuple[float, ...] = ()
    test: effects.Effect | None = None
    p_adjusted: float | None = None
    look: Analysis | None = None

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.values)

    @property
    def solved(self) -> int:
        """Seeds that solved the task."""
        return self.counts.of(self.found.case.id)[0]

    @property
    def of_baseline(self) -> tuple[int, int] | tuple[None, None]:
        """Runs of the baseline that solved the task, and all of them; None where it is not compared with these."""
        against = self.found.against
        return self.counts.of(against.id) if isinstance(against, Case) and self.look is not None else (None, None)


def results(loaded: Loaded) -> list[OnTask]:
    """Return every variant on every task that at least one variant has a result on."""
    made = list[OnTask]()
    for comparison in loaded.plan.comparisons:
        if not task_of(comparison.variants[0]):
            continue
        metric, baseline = loaded.tables.metrics[comparison.metrics[0]], loaded.tables.baseline_of(comparison)
        counts = loaded.tables.over_seeds(baseline, metric)
        assert isinstance(counts, Counts)
        if counts.answers:
            made += [_on_task(loaded, metric, counts, case, baseline) for case in comparison.variants]
    return made


def _on_task(loaded: Loaded, metric: Metric, counts: Counts, case: Case, baseline: Case) -> OnTask:
    tables, alone = loaded.tables, Finding(case, None, case.grid_point, metric.key)
    unanswered = None if case.id in counts.answers else Trouble("skipped", "no answers were recorded")
    trouble = tables.value(case, metric).trouble or unanswered
    if trouble is not None:
        return OnTask(task_of(case), counts, replace(alone, status=trouble.status, reason=trouble.reason))
    values = tables.values_of(case, metric.key)
    accuracy = Estimate.of_interval(tables.value(case, metric).estimate, "share", n=len(values))
    own = replace(alone, value=accuracy, reason=None if counts.counted else BY_MEAN)
    made = OnTask(task_of(case), counts, own, tuple(values.values()))
    return made if case.variant == baseline.variant else _compared(loaded, made, baseline)


def _compared(loaded: Loaded, alone: OnTask, baseline: Case) -> OnTask:
    """Add what is found against the baseline: by counts, or by how the mean accuracy differs."""
    own, counts = replace(alone.found, against=baseline), alone.counts
    if baseline.id not in counts.answers:
        return replace(alone, found=replace(own, reason="the baseline has no value"))
    alone = replace(alone, look=counts.analysis(counts.answers[own.case.id], counts.answers[baseline.id]))
    row = loaded.pair(own.case.variant, own.metric)
    if not counts.counted:
        mean = own if row is None else of_row(row, own.case, baseline)
        known = mean.typical.closed  # from one seed nothing is found
        return replace(alone, found=replace(own, typical=mean.typical, verdict=mean.verdict) if known else own)
    verdict = None if row is None else known_text(row.verdict)
    test, needed, reason = counts.effect(own.case.id, baseline.id), None, None
    if verdict is None and not loaded.suite.claims:
        reason = SMOKE
    elif verdict == INCONCLUSIVE:
        needed = _seeds_needed(counts, own.case, baseline)
        reason = UNDECIDABLE if needed is None else None
    typical = Estimate.of_interval(test, "difference", "ratio")
    found = replace(own, typical=typical, verdict=verdict, needed=needed, reason=reason)
    return replace(alone, found=found, test=test, p_adjusted=None if row is None else row.p_adjusted)


def _seeds_needed(found: Counts, case: Case, baseline: Case) -> int | None:
    """Return the seeds of each variant that tell the observed rates apart; None: more than 100, or the rates are equal."""
    (mine, n), (theirs, other_n) = found.of(case.id), found.of(baseline.id)
    needed = exact_two_proportions.seeds_needed(mine / n, theirs / other_n, solved.level_among(len(found.answers) - 1))
    return None if needed is None else max(needed, min(n, other_n) + 1)


TABLE = DataTable[OnTask](
    "solved",
    "a variant on a task",
    (
        text("task", "the task", lambda row: row.task),
        text("variant", "the variant", lambda row: row.found.case.variant),
        text("model", "its model", lambda row: row.found.case.model),
        text("baseline_variant", "what it is compared with", lambda row: getattr(row.found.against, "variant", None)),
        number("shortcut", "accuracy of the best rule that does not solve the task", lambda row: row.counts.shortcut),
        number("solved_from", "accuracy from which a run has solved the task", lambda row: row.counts.level),
        count("solved", "runs that solved it", lambda row: row.solved if row.values else None),
        count("seeds", "its runs, one for each seed", lambda row: row.seeds or None),
        count("baseline_solved", "runs of the baseline that solved it", lambda row: row.of_baseline[0]),
        count("baseline_seeds", "runs of the baseline", lambda row: row.of_baseline[1]),
        interval(
            "difference",
            "share of runs that solved it minus that of the baseline, where runs are counted",
            lambda row: row.test,
        ),
        number("ci_level", "level of the interval", lambda row: None if row.test is None else LEVEL),
        number("p", "exact p-value of both counts", lambda row: None if row.test is None else row.test.p),
        number("p_adjusted", "the same among the variants of the task (Holm)", lambda row: row.p_adjusted),
        text("verdict", "verdict on the counts", lambda row: row.found.verdict if row.test else None),
        count(
            "seeds_needed", "seeds of each variant that would decide it at these rates", lambda row: row.found.needed
        ),
        text("status", "`ok`, `failed` or `skipped`", lambda row: row.found.status),
        text("reason", "why there is no number or no verdict", lambda row: row.found.reason),
        count(
            "interim_analysis", "which interim analysis of the seeds it is", lambda row: row.look and row.look.number
        ),
        count(
            "interim_analyses",
            "interim analyses that verdicts allow for",
            lambda row: row.look and len(row.look.fractions),
        ),
    ),
    results,
)


# --- in sentences and tables


def answer(loaded: Loaded) -> Iterator[Sentence]:
    """Say at which tasks variants are better or worse than the baseline; of a run that compares other things too, nothing."""
    made, (base, *variants) = results(loaded), loaded.variants
    if not made or not all(task_of(each.variants[0]) for each in loaded.plan.comparisons):
        return
    for case in variants[:MOST_ANSWERED]:
        found = [each for each in made if each.found.case.variant == case.variant]
        said = [Sentence("{task} {verdict}", task=each.task, verdict=_verdict(each.found)) for each in found]
        parts = Listed(said, most=MOST_TASKS)
        yield Sentence("{variant} against {base}: {parts}.", variant=case, base=base, parts=parts)


def _verdict(found: Finding) -> str:
    return verdict_words(found.verdict, timed=False) if found.status == "ok" else found.status


def pooled(loaded: Loaded) -> Iterator[Sentence]:
    """Say whose seeds are pooled, and which interim analysis it is; nothing of one analysis of one run."""
    sets, number = loaded.run.sets, max(1, len(loaded.run.sets))
    if sets:
        runs = [Sentence("{n} of {run}", n=len(each.seeds), run=Code(str(each.run))) for each in sets]
        yield Sentence("seeds of {runs}", runs=Listed(runs, last=" and "))
    if (most := max(number, TaskPlan.settled(loaded.suite).interim_analyses)) > 1:
        words = "interim analysis {number} of {most}: CIs and verdicts allow for all of them"
        yield Sentence(words, number=number, most=most)


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Say where more sets of seeds were analysed than the suite planned."""
    n, planned = len(loaded.run.sets), TaskPlan.settled(loaded.suite).interim_analyses
    if n > planned:
        words = "{n} interim analyses, {planned} planned (tasks.interim_analyses): errors may exceed 5 %"
        yield Sentence(words, n=n, planned=planned)


def table(loaded: Loaded) -> Table | None:
    """Return accuracy by variant and task, with the seeds that solved it where these are counted.

    None where no task has a result.
    """
    made, taken, variants = results(loaded), loaded.plan.variants_from, {case.variant: case for case in loaded.variants}
    cells: list[tuple[Value, Value, Value, Value]]
    cells = [(variants[each.found.case.variant], "", each.task, _cell(each)) for each in made]
    for each in made:
        shortcut = Finding("best shortcut", value=Estimate(each.counts.shortcut, kind="share"))
        cells.append((shortcut.what, "", each.task, shortcut))
    best = [best_variants.sentence(taken)] if taken else []
    notes: list[Value] = [READING, seeds_in_words(loaded), *pooled(loaded), *best]
    return replace(pivot("accuracy", cells, "accuracy, %"), notes=notes, file="solved.csv") if made else None


def _cell(each: OnTask) -> Value:
    """Return an accuracy and what is found against the baseline, with the seeds that solved the task where these are counted."""
    if not each.values:
        return each.found.status
    if each.counts.counted and each.seeds > 1:
        return Sentence("{found} {solved}/{seeds}", found=each.found, solved=each.solved, seeds=each.seeds)
    return each.found
