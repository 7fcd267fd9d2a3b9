"""Find a learning rate: train one variant at several rates, and at further ones until the best is not at the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from modbench.extend import (
    MOST_MORE,
    AnyMetric,
    Case,
    Comparison,
    Job,
    JobMaker,
    Metric,
    Missing,
    Notes,
    NumericsError,
    Outcome,
    Pass,
    Phase,
    Protocol,
    Unmeasured,
    attempt,
    clocks,
    missing,
    run_flops,
    single,
    train,
    train_run,
    workspace,
)
from modbench.plugins.sweeps.isoflop.plan import RATES_PASS, IsoflopPlan, rates_job


class RatesNotes(Notes):
    """Learning rates that were tried.

    Attributes:
        seed: seed of the runs.
        rule: the width rule's rate.
        rates: multiples of it, ascending.
        losses: held-out loss of each; None if training diverged.
        at_edge: whether the best one is the lowest or the highest that was tried.
    """

    seed: int
    rule: float = Field(gt=0)
    rates: list[float]
    losses: list[float | None]
    at_edge: bool


@dataclass(frozen=True)
class Tried:
    """Learning rates that were tried.

    Attributes:
        losses: multiple of the rule's rate to held-out loss; infinite where training diverged.
    """

    losses: dict[float, float]

    @property
    def best(self) -> float:
        """The multiple with the lowest loss."""
        return min(self.losses, key=lambda rate: self.losses[rate])


def run(job: Job, metrics: list[Metric[Tried, float]]) -> Iterator[Outcome]:
    """Find the best multiple of the rule's rate; the notes hold every rate that was tried."""
    (case,) = job.comparison.variants
    with clocks.busy():
        tried = attempt(partial(search, partial(_loss, case, job.protocol), job.protocol.rates))
    for metric in metrics:
        if isinstance(tried, Missing):
            yield missing(case, metric, tried)
            continue
        ordered = sorted(tried.losses)
        assert job.protocol.train is not None
        notes = RatesNotes(
            seed=job.protocol.seed,
            rule=job.protocol.train.lr,
            rates=ordered,
            # JSON has no infinity: a rate that diverged has no loss.
            losses=[tried.losses[rate] if tried.losses[rate] < float("inf") else None for rate in ordered],
            at_edge=tried.best in {ordered[0], ordered[-1]},
        )
        yield single(case, metric, attempt(partial(metric.measure, tried)), notes)


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each variant of a sweep, at the middle size and the first budget."""
    sweep = IsoflopPlan.of(maker.suite)
    for case in comparison.variants if sweep is not None else ():
        # Which rate is tried next depends on losses that only the first of several ranks would know.
        plan = train_run(maker.suite, case).model_copy(update={"ranks": 1, "rate_from": None})
        one = comparison.model_copy(update={"variants": (case,)})
        assert sweep is not None
        yield maker.job(
            rates_job(case),
            one,
            PASS.name,
            len(sweep.rates) * run_flops(plan, case),
            run=plan,
            rates=sweep.rates,
            workload="train",
        )


def search(loss: Callable[[float], float], rates: Sequence[float]) -> Tried:
    """Try the given rates, and up to three more beyond an edge while the best is there.

    Args:
        loss: held-out loss at a multiple of the rule's rate; raises NumericsError where training diverges.
        rates: multiples to start with.

    Raises:
        Unmeasured: if every rate diverged.
    """
    tried = Tried({})

    def attempt_at(rate: float) -> None:
        try:
            tried.losses[rate] = loss(rate)
        except NumericsError:
            tried.losses[rate] = float("inf")

    for rate in sorted(rates):
        attempt_at(rate)
    for _ in range(MOST_MORE):
        low, *_, high = sorted(tried.losses)
        best = tried.best
        if tried.losses[best] == float("inf"):
            attempt_at(low / 2)
        elif best in {low, high}:
            attempt_at(low / 2 if best == low else high * 2)
        else:
            break
    if min(tried.losses.values()) == float("inf"):
        rates_tried = ", ".join(f"{rate:g}" for rate in sorted(tried.losses))
        raise Unmeasured(f"training diverged at every rate tried: {rates_tried}")
    return tried


def _loss(case: Case, protocol: Protocol, multiple: float) -> float:
    """Held-out loss at a multiple of the rule's rate, without the future if the model can route so."""
    run = protocol.train
    assert run is not None
    plain = run.model_copy(update={"lr": run.lr * multiple, "looks": 0, "watch": False, "flips": 0})
    held_out = train(case, protocol.model_copy(update={"train": plain})).held_out
    if workspace.HERE is not None:
        workspace.HERE.checkpoint.unlink(missing_ok=True)  # the next rate starts from scratch
    return held_out.loss if held_out.causal is None else held_out.causal


PASS = Pass(
    name=RATES_PASS,
    run=run,
    jobs=jobs,
    notes=RatesNotes,
    phase=Phase.TRAIN,
    order=2,
    trains=True,
    no_interval="the best of the tried rates: no interval",
    timeout_factor=lambda job: 1 + MOST_MORE / len(job.protocol.rates),
    settings=lambda suite, _case: IsoflopPlan.of(suite),
)
