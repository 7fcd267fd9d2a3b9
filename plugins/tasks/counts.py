"""Runs that solved a task, counted by variant; what two counts say where the suite compares them.

Where the suite says that runs are counted (`tasks.counted`), an interval of Student's t over seeds means nothing and is not
given; the verdict follows from an exact test of the counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from modbench.extend import (
    Analysis,
    Compared,
    Direction,
    Effect,
    Estimate,
    Outcome,
    OverSeeds,
    Reason,
    Rule,
    Sentence,
    effects,
    estimated,
    plain,
    sentence,
)
from modbench.plugins.tasks import exact_two_proportions, solved
from modbench.plugins.tasks.notes import TaskNotes
from modbench.plugins.tasks.seed_sets import SeedSets


@dataclass(frozen=True)
class Counts(OverSeeds):
    """How many runs of each variant solved a task.

    Attributes:
        level: accuracy from which a run has solved it.
        shortcut: accuracy of the best rule that does not solve it.
        answers: id of a case to the seeds of its runs, each with what the model answered; of cases without a value nothing.
        counted: whether the suite compares variants by these counts, not by mean accuracy.
        sets: the sets of seeds, each of which was looked at.
    """

    level: float
    shortcut: float
    answers: Mapping[str, Mapping[int, TaskNotes]]
    counted: bool
    sets: SeedSets

    def of(self, case: str) -> tuple[int, int]:
        """Return the number of a variant's runs that solved the task, and of all its runs."""
        answers = self.answers[case].values()
        return sum(each.accuracy >= self.level for each in answers), len(answers)

    def effect(self, case: str, baseline: str) -> Effect:
        """Return the difference of two variants' shares of runs that solved the task, with exact interval and p-value."""
        analysis = self.analysis(self.answers[case], self.answers[baseline])
        return exact_two_proportions.compare(*self.of(case), *self.of(baseline), analysis)

    def analysis(self, *sides: Collection[int]) -> Analysis:
        """Return which interim analysis the seeds of some variants are."""
        return self.sets.analysis(*sides)

    def estimate(self, case: str, values: Mapping[int, float]) -> Effect:
        """Return the mean accuracy; its interval is over seeds, or for one seed binomial, over the questions.

        Where runs are counted there is no interval over seeds: of runs that are here or there it means nothing.
        """
        effect, known = super().estimate(case, values), self.answers.get(case)
        if not known:
            return effect
        if len(values) == 1:
            (answered,) = known.values()
            low, high = effects.share_interval(answered.correct, answered.n)
            words = Reason("binomial, over {n} questions of one seed: says nothing about another seed", n=answered.n)
            return Effect(effect.value, low, high, n=1, reason=words)
        if not self.counted:
            return effect
        mine, n = self.of(case)
        words = Reason("all or nothing: {solved} of {n} seeds solved it (solved.csv)", solved=mine, n=n)
        return Effect(effect.value, n=n, reason=words)

    def otherwise(self, case: str, baseline: str, better: Direction) -> Compared | None:
        """Compare two variants by their counts, where the suite says so."""
        if not self.counted or not self.answers:
            return None
        effect, (mine, n), (theirs, other_n) = self.effect(case, baseline), self.of(case), self.of(baseline)
        values, base = self.answers[case], self.answers[baseline]
        apart = [values[seed].accuracy - base[seed].accuracy for seed in sorted(values.keys() & base.keys())]
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
        difference = sum(apart) / len(apart) if apart else None
        return Compared(estimated(effect, Rule("loss", 0.0, better)), difference, plain(said))


def counts(outcomes: Mapping[str, Mapping[int, Outcome]], sets: SeedSets, *, counted: bool) -> Counts:
    """Count the runs that solved a task.

    Args:
        outcomes: accuracies by case and seed.
        sets: the sets of seeds.
        counted: whether the suite compares variants by these counts.
    """
    answers = {
        case: {seed: outcome.notes for seed, outcome in each.items() if isinstance(outcome.notes, TaskNotes)}
        for case, each in outcomes.items()
    }
    answers = {case: each for case, each in answers.items() if each}
    every = [each for of_case in answers.values() for each in of_case.values()]
    shortcut = max((share for each in every for share in each.shortcuts.values()), default=0.0)
    level = solved.solved_from(shortcut, every[0].solved) if every else 1.0
    return Counts(level, shortcut, answers, counted, sets)
