"""`[isoflop]` of a suite: every variant is trained with several budgets of training FLOPs, each in several sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from modbench.extend import BUDGETS, Budget, Sizes, SuiteTable, UsageError, catalogue, training_tokens
from modbench.plugins.sweeps.isoflop.plan import (
    CONFIRM_PASS,
    RATES_PASS,
    IsoflopPlan,
    at_budget,
    budget_of,
    label_of,
    rates_job,
)
from modbench.plugins.sweeps.trend.table import TrendPlan

if TYPE_CHECKING:
    from modbench.extend import Case, Comparison, GridPoint, Job, MakesComparisons, ResolvedVariant, Suite, Text


class IsoflopTable(SuiteTable[IsoflopPlan]):
    """Every variant in several sizes, which are timed together and trained apart, each with the same FLOPs."""

    without = "is not a sweep"

    def check(self, suite: Suite, source: str) -> None:
        """Check that the suite says how a run is trained, at one length."""
        if suite.train is None:
            raise UsageError(f"{source}: [isoflop] needs a [train] table, which sets how a run is trained.")
        if len(suite.train.grid_points) > 1:
            raise UsageError(
                f"{source}: a sweep ([isoflop]) trains at one length: give train.seq_len and train.batch_size one each."
            )

    def complete(self, data: dict[str, Any], key: str) -> None:  # noqa: ARG002  # only refuses
        """Refuse to set how long to train."""
        table, _, name = key.partition(".")
        if table == "train" and name in BUDGETS:
            raise UsageError(f"--set {key}: in a sweep isoflop.train_flops set how long to train. Set those instead.")

    def sizes(self, suite: Suite) -> Sizes:
        """The sizes; the baseline of the middle one is that of all times."""
        plan = IsoflopPlan.settled(suite)
        return Sizes(plan.sizes, plan.middle, len(plan.train_flops))

    def on_corpus(
        self,
        maker: MakesComparisons,
        by_size: Sequence[Sequence[ResolvedVariant]],
        grid_points: Sequence[GridPoint],
        keys: tuple[str, ...],
    ) -> Iterator[Comparison]:
        """One comparison per number format, budget and size; further budgets of the baseline alone."""
        plan, trend = IsoflopPlan.settled(maker.suite), TrendPlan.of(maker.suite)
        passes = {key: catalogue.pass_of(catalogue.metrics()[key]).name for key in keys}
        plain = tuple(key for key in keys if passes[key] != RATES_PASS)
        fresh = tuple(key for key in plain if passes[key] == CONFIRM_PASS)
        for grid_point, budget in itertools.product(grid_points, plan.train_flops):
            wanted = plain if trend is None or trend.explores(budget) else fresh
            for j in plan.at(budget):
                # Rates are tried once, at the smallest budget and its middle size.
                asked = keys if budget == min(plan.train_flops) and j == plan.middle else wanted
                yield _comparison(maker, by_size[j], grid_point, asked, budget)
        alone = tuple(key for key in plain if key not in fresh)
        for grid_point, budget in itertools.product(grid_points, plan.baseline_train_flops):
            for variants in (by_size[j] for j in plan.at(budget)):
                yield _comparison(maker, variants[:1], grid_point, alone, budget)

    def budget(self, suite: Suite, case: Case) -> Budget | None:
        """What a run of the sweep spends, and the job that finds its learning rate."""
        flops = budget_of(case)
        if flops is None:
            return None
        tries = any(catalogue.pass_of(catalogue.metrics()[key]).name == RATES_PASS for key in suite.metrics)
        causal = IsoflopPlan.settled(suite).count == "causal"
        return Budget(flops, causal, rates_job(case) if tries else None)

    def check_jobs(self, suite: Suite, jobs: Sequence[Job], text: Text | None) -> None:
        """Check that the jobs are there which try learning rates, and that a run reads mostly fresh text."""
        _check_rates(suite, jobs)
        if text is not None and suite.claims:
            _check_epochs(suite, jobs, text)


def _comparison(
    maker: MakesComparisons,
    variants: Sequence[ResolvedVariant],
    grid_point: GridPoint,
    keys: tuple[str, ...],
    budget: float,
) -> Comparison:
    name = f"{variants[0].parts[-1]}-{label_of(budget)}"
    return maker.comparison(variants, grid_point, keys, name, conditions=at_budget(budget))


def _check_rates(suite: Suite, jobs: Sequence[Job]) -> None:
    """Check that the selection includes the jobs that try learning rates.

    Raises:
        UsageError: if the job that finds a run's learning rate was left out.
    """
    names, plan = {job.name for job in jobs}, IsoflopPlan.settled(suite)
    for job in jobs:
        run = job.protocol.train
        if run is not None and run.rate_from is not None and run.rate_from not in names:
            middle = plan.sizes[plan.middle]
            raise UsageError(
                f"-k leaves out the middle size ({', '.join(f'{key} {value}' for key, value in middle.items())}), at which the "
                f"learning rate of {job.comparison.variants[0].variant} is tried. Select it too, or leave out the "
                "metric lr/best_over_rule."
            )


def _check_epochs(suite: Suite, jobs: Sequence[Job], text: Text) -> None:
    """Check that a sweep trains mostly on fresh text.

    Raises:
        UsageError: if a run would repeat the corpus too often.
    """
    available, most = training_tokens(suite, text), IsoflopPlan.settled(suite).max_epochs
    for job in jobs:
        run = job.protocol.train
        if run is not None and run.steps * run.tokens_per_step > most * available:
            raise UsageError(
                f"{job.name} would read {run.steps * run.tokens_per_step:.3g} tokens, "
                f"{run.steps * run.tokens_per_step / available:.3g} times the {available:.3g} of corpus {suite.corpus!r}; "
                f"at most {most:g} are allowed. "
                "Give a larger --corpus, or raise the limit: --set isoflop.max_epochs=N."
            )


TABLE = IsoflopTable(IsoflopPlan)
