"""Runs that solved a task, counted by variant; what two counts say where the suite compares them, and which seeds decide.

Where the suite says that runs are counted (`tasks.counted`), an interval of Student's t over seeds means nothing and is not
given; the verdict follows from an exact test of the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.domain.case import Case
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.plan import Plan, decidable_on_tasks
from modbench.harness.stats import exact_two_proportions, solved
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.exact_two_proportions import MOST_SEEDS
from modbench.harness.stats.interim import Analysis
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.seed_sets import SeedSets
from modbench.reports.blocks import Estimate, Listed, Sentence
from modbench.reports.markup.number_format import plain
from modbench.reports.reasons import sentence
from modbench.reports.tables.cell import Cell


def decidable_in_words(plan: Plan) -> str | None:
    """Say which shares of runs that solve a task seeds of a plan decide, and what others take; None: nothing is compared."""
    found = decidable_on_tasks(plan)
    if found is None:
        return None
    words = "Tasks that a run solves or not: {n:seed} decide {what} (80 % power); {others}."
    shares = [] if found.from_none is None else [Sentence("0 % against {least}", least=_share(found.from_none))]
    takes = "{low} against {high} takes {n}"
    others = [
        Sentence(takes, low=_share(low), high=_share(high), n=f"over {MOST_SEEDS}" if n is None else n)
        for (low, high), n in found.needed.items()
    ]
    return plain(Sentence(words, n=found.seeds, what=Listed(shares) if shares else "nothing", others=Listed(others)))


def _share(value: float) -> Estimate:
    return Estimate(value, kind="share")


@dataclass(frozen=True)
class Counts:
    """How many runs of each variant solved a task.

    Attributes:
        level: accuracy from which a run has solved it.
        shortcut: accuracy of the best rule that does not solve it.
        seeds: id of a case to the seeds of its runs, each with its accuracy.
        counted: whether the suite compares variants by these counts, not by mean accuracy.
        sets: the sets of seeds, each of which was looked at.
    """

    level: float
    shortcut: float
    seeds: Mapping[str, Mapping[int, float]]
    counted: bool
    sets: SeedSets

    def of(self, case: Case) -> tuple[int, int]:
        """Return the number of a variant's runs that solved the task, and of all its runs."""
        accuracies = self.seeds[case.id].values()
        return sum(each >= self.level for each in accuracies), len(accuracies)

    def effect(self, case: Case, baseline: Case) -> Effect:
        """Return the difference of two variants' shares of runs that solved the task, with exact interval and p-value."""
        return exact_two_proportions.compare(*self.of(case), *self.of(baseline), self.analysis(case, baseline))

    def analysis(self, case: Case, baseline: Case) -> Analysis:
        """Return which interim analysis of two variants it is."""
        return self.sets.analysis(self.seeds[case.id], self.seeds[baseline.id])


def counts(metric: Metric, cells: Mapping[str, Cell], suite: Suite, sets: SeedSets) -> Counts | None:
    """Count the runs that solved the task which a metric is about; None if no variant has a value."""
    known = {case: answers for case, cell in cells.items() if not cell.trouble() and (answers := cell.answers)}
    if not known:
        return None
    shortcut = max((share for each in known.values() for share in each.shortcuts.values()), default=0.0)
    level = solved.solved_from(shortcut, next(iter(known.values())).solved)
    seeds = {case: cells[case].values() for case in known}
    return Counts(level, shortcut, seeds, counted=metric.task in suite.tasks.counted, sets=sets)


def estimate(found: Counts, case: Case, effect: Effect) -> Effect:
    """Take the interval over seeds from a mean accuracy: of runs that are here or there it means nothing."""
    if effect.n < 2:
        return effect  # of one seed the interval is over its questions, and its reason says so
    mine, n = found.of(case)
    return Effect(effect.value, n=n, reason=Reason("counted", solved=mine, n=n))


def result(
    found: Counts, case: Case, baseline: Case, values: tuple[dict[int, float], dict[int, float]]
) -> dict[str, Any]:
    """Compare two variants by accuracy by seed: columns of `comparisons.csv` from `difference` on, but for the verdict."""
    effect, (mine, n), (theirs, other_n) = found.effect(case, baseline), found.of(case), found.of(baseline)
    seeds = values[0].keys() & values[1].keys()
    apart = [values[0][seed] - values[1][seed] for seed in sorted(seeds)]
    said = Sentence(
        "all or nothing: solved by {mine} of {n} seeds against {theirs} of {other_n}, exact p {p} (solved.csv)"
        + "; {look}" * (effect.reason is not None),
        mine=mine,
        n=n,
        theirs=theirs,
        other_n=other_n,
        p=Estimate(effect.p, kind="p"),
        look=sentence(effect.reason),
    )
    return {
        "difference": sum(apart) / len(apart) if apart else None,
        "reason": plain(said),
        "paired": False,
    }
