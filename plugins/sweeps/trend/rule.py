"""Trains two neighbouring sizes of each variant on new seeds, at every budget of a sweep, around the optimum that it found.

From two sizes and the curvature of the sweep follows the loss at each variant's own optimum: the difference of two variants
then holds nothing of the widths that somebody chose, and its interval holds the error of the optimum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modbench.extend import AdaptiveDecision as Decision
from modbench.extend import AdaptiveRule, Case, Frozen, Job, Record, UsageError, human_duration
from modbench.plugins.sweeps.confirmation.rule import found_in, of_sweep, place_of, runs_in
from modbench.plugins.sweeps.isoflop.plan import CONFIRM_PASS, IsoflopPlan, budget_of, spent
from modbench.plugins.sweeps.joint_fit import JointFit
from modbench.plugins.sweeps.trend.statistics import FIRST_SEEDS, Bend, Sizes, Tried, bend_of, curves, pairs, step
from modbench.plugins.sweeps.trend.table import TrendPlan, fresh_seeds

if TYPE_CHECKING:
    from modbench.extend import Plan, Suite


class Side(Frozen):
    """A variant at a budget: the two sizes that were trained on new seeds.

    Attributes:
        train_flops: training FLOPs.
        variant: the variant without its size.
        cases: ids of the two, the smaller first.
    """

    train_flops: float
    variant: str
    cases: tuple[str, str]


class Followed(Frozen):
    """What a trend trained again.

    Attributes:
        sides: by budget and variant, in the order of the plan.
        reason: why nothing was.
    """

    sides: tuple[Side, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Runs:
    """The runs of a sweep at one place.

    Attributes:
        anchor: the baseline's variant.
        cases: every variant at every size and budget, by id, in plan order.
        explored: the runs that choose.
        fresh: the runs that may be asked for, by case and seed.
    """

    anchor: str
    cases: dict[str, Case]
    explored: list[Job]
    fresh: dict[str, dict[int, Job]]

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Runs:
        """The trend that the jobs of a group explore for, and follow."""
        return cls(jobs[0].comparison.variants[0].family, *runs_in(jobs))

    @property
    def variants(self) -> list[str]:
        """The variants, the baseline first."""
        return [
            self.anchor,
            *dict.fromkeys(case.family for case in self.cases.values() if case.family != self.anchor),
        ]

    def sizes(self, variant: str) -> dict[float, list[Case]]:
        """The sizes of a variant that may be trained again, smallest first, by budget."""
        found: dict[float, list[Case]] = {}
        for case in self.cases.values():
            if case.family == variant and budget_of(case) is not None and case.id in self.fresh:
                found.setdefault(spent(case), []).append(case)
        return {budget: sorted(cases, key=place_of) for budget, cases in sorted(found.items())}


def tried_in(runs: Sequence[tuple[Job, float]]) -> list[Tried]:
    """Exploring runs that left a loss, each with it, as the fit takes them."""
    return [
        Tried(case.family, budget_of(case) or 0.0, place_of(case), job.protocol.seed, loss)
        for job, loss in runs
        for case in job.comparison.variants
    ]


def runs_of(plan: Plan) -> dict[str, Runs]:
    """The trends of a plan, by name; none if it follows none."""
    return {name: Runs.of(jobs) for name, jobs in plan.members("trend").items()}


class TrendRule(AdaptiveRule[Followed]):
    """Asks, when all runs of the sweep have ended, for fresh runs of two sizes of each variant at each budget."""

    found = Followed

    def groups(self, suite: Suite, jobs: Sequence[Job]) -> dict[str, list[Job]]:
        """Return the runs that explore at each place, with the fresh ones that may be asked for after them."""
        return {} if TrendPlan.of(suite) is None else of_sweep(jobs, lambda case: f"trend-{case.grid_point.label}")

    def is_conditional(self, suite: Suite, job: Job) -> bool:  # noqa: ARG002  # as every rule
        """Whether the job trains again what a sweep found best."""
        return job.made_in == CONFIRM_PASS

    def shares(self, suite: Suite, jobs: Sequence[Job]) -> tuple[float, float]:  # noqa: ARG002  # as every rule
        """Return the share of the fresh runs' FLOPs that two sizes take at each budget: on average, and those that cost most."""
        usual, most, whole = 0.0, 0.0, 0.0
        made = Runs.of(jobs)
        for variant in made.variants:
            for cases in made.sizes(variant).values():
                costs = [sum(job.flops for job in made.fresh[case.id].values()) for case in cases]
                both = [one + other for one, other in itertools.pairwise(costs)] or [sum(costs)]
                usual, most, whole = usual + sum(both) / len(both), most + max(both), whole + sum(costs)
        return usual / whole, most / whole

    def decide(self, suite: Suite, jobs: Sequence[Job], records: Mapping[str, Record]) -> Decision:
        """Choose two sizes of each variant at each budget from the sweep; move them where their first seeds show better ones."""
        made = Runs.of(jobs)
        left = [(job, loss) for job in made.explored if (loss := found_in(records[job.name]).loss) is not None]
        fitted = curves(tried_in(left))
        chosen = choose(made, fitted, claims=suite.claims)
        if isinstance(chosen, str):
            return Decision(ended=True, why=chosen, found=Followed(reason=chosen))
        settled = [_settled(made, side, records, bend_of(fitted[side.variant])) for side in chosen]
        first = [job for side in settled for job in _first(made, side)]
        if any(job.name not in records for job in first):
            return Decision([job.name for job in first], why="two sizes of each variant, first seeds")
        runs = [list(made.fresh[case].values()) for side in settled for case in side.cases]
        most = max(map(len, runs))
        # Seed by seed at all budgets: where a run is stopped, each has its share.
        turns = {job.name: i * most // len(each) for each in runs for i, job in enumerate(each)}
        why = f"two sizes of each variant, {len(turns)} runs with new seeds"
        return Decision(list(turns), ended=True, why=why, found=Followed(sides=tuple(settled)), turns=turns)

    def check(self, suite: Suite, jobs: Sequence[Job], select: str | None) -> None:
        """Check that there are two variants."""
        if len(Runs.of(jobs).variants) < 2:
            what = f"-k {select!r} leaves" if select else "there is"
            raise UsageError(
                f"{suite.name}: [trend] compares variants with the baseline, and {what} only one: add another."
            )

    def forecast(self, suite: Suite, groups: Mapping[str, Sequence[Job]]) -> Mapping[str, Any]:
        """Return the fresh runs of each trend, and their share of the sweep's FLOPs."""
        found = []
        for name, jobs in groups.items():
            made, (usual, _) = Runs.of(jobs), self.shares(suite, jobs)
            explored = sum(job.flops for job in made.explored)
            fresh = usual * sum(job.flops for each in made.fresh.values() for job in each.values())
            budgets = sorted(IsoflopPlan.settled(suite).train_flops)
            seeds = [len(fresh_seeds(suite, budget)) for budget in budgets]
            found.append(
                {
                    "name": name,
                    "train_flops": budgets,
                    "seeds": seeds,
                    "runs": 2 * len(made.variants) * sum(seeds),
                    "share": fresh / (fresh + explored),
                    "minutes": TrendPlan.settled(suite).minutes,
                }
            )
        return {"followed": found}

    def forecast_in_words(self, forecast: Mapping[str, Any]) -> Iterator[str]:
        """Say how many fresh runs follow, how long they take, and how many seeds would fit."""
        for each in forecast["followed"]:
            seconds = each["share"] * forecast["predicted_s"]
            budgets = ", ".join(f"{budget:g}".replace("e+", "e") for budget in each["train_flops"])
            yield (
                f"Then two sizes of each variant are trained again at each of {budgets} FLOPs, with "
                f"{_listed(each['seeds'])} new "
                f"seeds: {each['runs']} runs, all of them counted above, about {human_duration(seconds)}."
            )
            if each["minutes"] is not None and seconds > 60 * each["minutes"]:
                fits = [max(2, int(seeds * 60 * each["minutes"] / seconds)) for seeds in each["seeds"]]
                given = f"[{','.join(map(str, fits))}]"
                yield f"trend.minutes plans {human_duration(60 * each['minutes'])} for them: --set trend.seeds={given} fits."


def _listed(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(set(seeds)) == 1 else ", ".join(map(str, seeds))


def choose(made: Runs, fitted: Mapping[str, JointFit], *, claims: bool = True) -> list[Side] | str:
    """Choose two neighbouring sizes of each variant at each budget, or return the reason why there are none.

    Args:
        made: the runs.
        fitted: the curves of the sweep, by variant.
        claims: whether anything may be claimed; a smoke run, whose curves mean nothing, trains the sizes in the middle.
    """
    sides = []
    for variant in made.variants:
        if variant not in fitted:
            return f"no run of {variant} in the sweep left a loss"
        sizes = made.sizes(variant)
        chosen = pairs(fitted[variant], variant, {flops: [*map(place_of, cases)] for flops, cases in sizes.items()})
        if chosen is None and not claims:
            chosen = {flops: len(cases) // 2 - 1 for flops, cases in sizes.items()}
        if chosen is None:
            return f"the losses of {variant} do not bend upwards over its sizes: they have no optimum"
        sides += [_side(variant, flops, sizes[flops], i) for flops, i in chosen.items()]
    return sorted(sides, key=lambda side: side.train_flops)


def _side(variant: str, flops: float, sizes: Sequence[Case], i: int) -> Side:
    return Side(train_flops=flops, variant=variant, cases=(sizes[i].id, sizes[i + 1].id))


def _first(made: Runs, side: Side) -> list[Job]:
    """The first fresh runs of both sizes."""
    return [job for case in side.cases for job in [*made.fresh[case].values()][:FIRST_SEEDS]]


def _settled(made: Runs, side: Side, records: Mapping[str, Record], bend: Bend | None) -> Side:
    """The sizes beside which the first new seeds place the optimum, as far as these have been trained."""
    sizes, toward = made.sizes(side.variant)[side.train_flops], 0
    while True:
        first = _first(made, side)
        found = [found_in(records[job.name]).loss if job.name in records else None for job in first]
        losses = [loss for loss in found if loss is not None]
        if len(losses) < len(first):
            return side
        low, high = (made.cases[case] for case in side.cases)
        losses_S2 = np.array(losses).reshape(2, -1).T
        move = step(Sizes(place_of(low), place_of(high), losses_S2), bend)
        i = sizes.index(low) + move
        if not move or move == -toward or not 0 <= i < len(sizes) - 1:
            return side
        side, toward = _side(side.variant, side.train_flops, sizes, i), move


RULE = TrendRule()
