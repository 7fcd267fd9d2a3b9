"""Train and evaluate one case with one seed: a metric's `measure` is given `Trained`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from modbench.harness.core.contracts import AnyMetric, Metric
from modbench.harness.domain.case import Case, Comparison, Job, Protocol
from modbench.harness.domain.notes import Curve, Looks, Notes, TrainNotes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.domain.records import Missing, Outcome
from modbench.harness.machine.process import clocks
from modbench.harness.planning.jobs import JobMaker, run_flops, train_run
from modbench.harness.results.measured_or_missing import attempt, missing, single
from modbench.harness.training.training_run import Trained, logger_feed, train

CAUSAL_LOSS = "loss/val_causal"
T = TypeVar("T")
# Notes that are kept once per run.
LONG = {"curve", "looks", "by_position", "routing"}


def run(job: Job, metrics: list[Metric[Trained, float]]) -> Iterator[Outcome]:
    """Train once, then let every metric read the result."""
    log = logger_feed(job)
    with contextlib.closing(log):
        values = dict[str, float]()
        for outcome in train_once(job, metrics, partial(train, log=log), _notes):
            if outcome.status != "ok":
                yield outcome
                continue
            yield _without_curves(outcome) if values else outcome
            values[outcome.metric] = outcome.samples["value"][0]
        log.end(values)


def _without_curves(outcome: Outcome) -> Outcome:
    """The outcome with short notes: curves are long, so only the first metric of a run keeps them."""
    return outcome.model_copy(update={"notes": outcome.notes.model_copy(update=dict.fromkeys(LONG))})


def train_once(
    job: Job,
    metrics: Iterable[Metric[T, float]],
    make: Callable[[Case, Protocol], T],
    notes: Callable[[AnyMetric, Protocol, T], Notes],
) -> Iterator[Outcome]:
    """Train the one case of a job, then let every metric read what was made; `notes` are of a metric with a value."""
    (case,) = job.comparison.variants
    with clocks.busy():
        made = attempt(partial(make, case, job.protocol))
    for metric in metrics:
        if isinstance(made, Missing):
            yield missing(case, metric, made)
        else:
            value = attempt(partial(metric.measure, made))
            yield single(case, metric, value, notes(metric, job.protocol, made))


def runs(
    maker: JobMaker, comparison: Comparison, case: Case, made_in: str, seeds: Iterable[int], **changes: object
) -> Iterator[Job]:
    """One training run of a case for each seed, as the suite has it but for some changes.

    Raises:
        UsageError: if its budget cannot be met.
    """
    plan, one = train_run(maker.suite, case), comparison.model_copy(update={"variants": (case,)})
    plan = plan.model_copy(update=changes)
    for seed in seeds:
        name = f"{made_in}-{case.id}-seed{seed}"
        yield maker.job(name, one, made_in, run_flops(plan, case), run=plan, seed=seed, workload="train")


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each case and seed.

    Raises:
        UsageError: if a budget cannot be met.
    """
    for case in comparison.variants:
        yield from runs(maker, comparison, case, PASS.name, maker.suite.seeds)


def _notes(metric: AnyMetric, protocol: Protocol, made: Trained) -> TrainNotes:
    notes = notes_of(protocol, made)
    if metric.key == CAUSAL_LOSS and made.held_out.causal_causality is not None:
        return notes.model_copy(update={"sees_future": False, "causality": made.held_out.causal_causality})
    return notes


def notes_of(protocol: Protocol, made: Trained) -> TrainNotes:
    """Notes about how the model was trained."""
    held_out = made.held_out
    return TrainNotes(
        seed=protocol.seed,
        corpus=protocol.corpus_path or protocol.corpus,
        corpus_sha256=protocol.corpus_sha256,
        tokenizer=made.tokenizer,
        sees_future=bool(held_out.sees_future or held_out.causality.reads_future),
        causality=held_out.causality,
        lr=made.run.lr,
        steps=made.run.steps,
        curve=Curve.model_validate(made.curve),
        looks=Looks.model_validate(made.looks),
        by_position=held_out.by_position,
        spent=made.spent,
        resumed_at=made.resumed_at,
        routing=made.routing,
    )


PASS = Pass(
    name="train",
    run=run,
    jobs=jobs,
    notes=TrainNotes,
    phase=Phase.TRAIN,
    order=3,
    trains=True,
    samples="seeds",
    statistic="mean",
    settings=lambda suite, _case: suite.train and suite.train.measured,
)
