"""Time calls: a metric's `measure` is given a `Subject` and returns the function of a token batch that is timed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from modbench.harness.call.timing import interleave
from modbench.harness.call.timing.interleave import Clock, Effort, Measured, Samples, Session
from modbench.harness.core.contracts import GENERATION, AnyMetric, Metric
from modbench.harness.domain.case import Case, Comparison, Job, Protocol
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.domain.records import Blocks, Missing, Outcome
from modbench.harness.machine import counter_sampler, nvml
from modbench.harness.machine.process import clocks
from modbench.harness.machine.process.graceful_stop import end_if_lost
from modbench.harness.planning.jobs import JobMaker
from modbench.harness.results import workspace
from modbench.harness.results.measured_or_missing import SURVIVABLE, attempt, measured, missing, missing_after, release

if TYPE_CHECKING:
    from torch import Tensor

    from modbench.harness.call.subject.check_timed_calls import Watched
    from modbench.harness.call.subject.subject import Subject

    # What a metric's `measure` returns: it is called with a batch of tokens.
    Call = Callable[[Tensor], object]

# Most input batches of a grid point; more if some variant's cost depends on the input, so that inputs are a factor of their own.
INPUTS, MANY_INPUTS = 4, 16


class Timed(NamedTuple):
    """A variant that is timed. Nothing else holds it, so that one that is dropped frees its memory.

    Attributes:
        call: what is timed.
        batches: what it is timed on.
        watched: compares what it computes before the timing and after; None: of a variant that no validity check sees.
        unchecked: why none does; None: of a shipped variant, too.
    """

    call: Call
    batches: list[Tensor]
    watched: Watched | None
    unchecked: str | None


def run(job: Job, metrics: list[Metric[Subject, Call]]) -> Iterator[Outcome | Blocks]:
    """Time one process of a comparison: all variants interleaved in this process; yields outcomes, then witnesses of blocks."""
    from modbench.harness.call.subject import process_settings
    from modbench.harness.call.subject.subject import clock_of

    grid_point = job.comparison.grid_point
    on_gpu = grid_point.device == "cuda"
    # Orders differ between processes, weights and inputs do not: processes differ in their process only.
    rng = random.Random(f"{job.protocol.seed} {job.name}")  # noqa: S311  # no secret
    clock = clock_of(grid_point)
    varying = any(varies(case, metrics[0].workload) for case in job.comparison.variants)
    inputs = number_of_inputs(job.protocol.rounds, varying=varying)
    variants = rng.sample(job.comparison.variants, len(job.comparison.variants))  # construction order is a factor too
    settings = process_settings.read()
    timed, missing_variants = _prepare_all(variants, job, metrics[0], clock, inputs, settings)
    collector, of_blocks = counter_sampler.Collector(), counter_sampler.of_blocks()
    gpu = nvml.watched() if on_gpu else nvml.Watched({}, {})
    of_blocks = counter_sampler.CounterSampler(of_blocks.counters | gpu.counters, of_blocks.levels | gpu.levels)
    session = Session(
        {variant: _call(made.call, made.batches) for variant, made in timed.items()},
        job.comparison.variants[0].id,
        rng=rng,
        clock=clock,
        on_error=partial(_note, missing_variants, timed, settings),
        survivable=SURVIVABLE,
        of_samples=counter_sampler.of_samples(grid_point.working_threads, collector),
        of_blocks=of_blocks,
        tidy=partial(process_settings.check, settings, "its call"),
        settled=nvml.settled(of_blocks.levels["sm_mhz"]) if "sm_mhz" in of_blocks.levels else (lambda: True),
        wait_for_turn=interleave.its_turn,
        column=f"{metrics[0].lap}/wall_s" if metrics[0].timer == "device" else "wall_s",
        inputs=inputs,
    )
    # Said once, before anything is timed: nothing is written meanwhile.
    workspace.Steps(f"warm-up, then {job.protocol.rounds} rounds").say(f"timing {len(timed)} models")
    with clocks.busy(), contextlib.closing(collector):
        found = session.measure(_effort(job.protocol, inputs if on_gpu else 0))
    guards = {
        variant: made.watched.found() if made.watched else {"unchecked": made.unchecked}
        for variant, made in timed.items()
    }
    for metric in metrics:
        for case in job.comparison.variants:
            if case.id in missing_variants:
                yield missing(case, metric, missing_variants[case.id])
                continue
            more: dict[str, Any] = {"unwatched": gpu.reason}
            more |= guards[case.id]
            if on_gpu and not metric.timer:
                made = timed[case.id]
                more |= _device_notes(made.call, made.batches, found.samples[case.id]["wall_s"])
            notes = _notes(job, metric, case, found, inputs).model_copy(update=more)
            yield measured(case, metric, _samples(found.samples[case.id], metric, job), notes)
    yield Blocks(group=metrics[0].group, columns=found.blocks)


def varies(case: Case, workload: str) -> bool:
    """Whether the cost of a call may depend on its input. True for a user's model, where this is unknown."""
    if case.is_user_model:
        return True
    facts = case.facts
    chosen = "balance" in (facts.keys or ()) and case.config.choice == "token"  # as many experts as its tokens choose
    return bool(facts.dynamic) or chosen or (facts.routes and workload in GENERATION)


def _prepare_all(
    variants: Sequence[Case],
    job: Job,
    metric: Metric[Subject, Call],
    clock: Clock,
    inputs: int,
    settings: Mapping[str, object],
) -> tuple[dict[str, Timed], dict[str, Missing]]:
    """What is timed, by variant, and what could not be prepared. No other variable may name a variant that will be dropped."""
    from modbench.harness.call.subject import process_settings

    timed: dict[str, Timed] = {}
    missing_variants: dict[str, Missing] = {}
    for number, case in enumerate(variants, 1):
        workspace.Steps(f"{case.id}, {number} of {len(variants)}").say("weights and first calls")
        made = attempt(partial(_prepare, case, job, metric, clock, inputs))
        process_settings.check(settings, case.id)
        if isinstance(made, Missing):
            missing_variants[case.id] = made
        else:
            timed[case.id] = made
    return timed, missing_variants


def _prepare(case: Case, job: Job, metric: Metric[Subject, Call], clock: Clock, inputs: int) -> Timed:
    from modbench.harness.call.subject import check_timed_calls
    from modbench.harness.call.subject.subject import Subject

    subject = Subject(case, job.protocol.seed, decode=job.protocol.decode, clock=clock)
    batches = subject.inputs(job.protocol.seed, inputs)
    if (
        job.process == 0 or case.is_user_model
    ):  # processes differ in their process only; of a user's model that is not known
        subject.check(batches[0])
    trains = metric.workload == "train_step"
    subject.module.train(trains)
    call = metric.measure(subject)
    watched = unchecked = None
    if case.is_user_model:
        timer = job.workload.partition("-")[2]
        unchecked = check_timed_calls.why_unseen(compiled=case.grid_point.compile, timer=timer)
        if unchecked is None:
            watched = check_timed_calls.Watched(subject, call, batches, job.protocol.seed, trains=trains)
    clock.synchronize()  # attribute errors on the device to this variant, not to the next
    return Timed(call, batches, watched, unchecked)


def number_of_inputs(rounds: int, *, varying: bool) -> int:
    """Input batches of a process: a divisor of the rounds, so that each is visited in equally many of them.

    Where the rounds have no suitable divisor, visits differ by one; mean times give every input the same weight anyway.

    Args:
        rounds: rounds of a process.
        varying: whether some variant's cost may depend on the input: then as many as 16, else about four.
    """
    divisors = [number for number in range(INPUTS, MANY_INPUTS + 1) if rounds % number == 0]
    if varying:
        return max(divisors, default=min(rounds, MANY_INPUTS))
    return min(divisors, default=min(rounds, INPUTS))


def _call(timed: Call, batches: list[Tensor]) -> interleave.Call:
    """A call on the batch with the given number."""
    return lambda number: timed(batches[number])


def _effort(protocol: Protocol, least_calls: int) -> Effort:
    """The protocol's effort. On a GPU the warm-up visits every input: libraries plan a kernel for each new shape."""
    return Effort(
        rounds=protocol.rounds,
        warm_up_calls=max(protocol.warm_up_calls, least_calls),
        warm_up_s=protocol.warm_up_s,
    )


def _note(
    missing_variants: dict[str, Missing],
    timed: dict[str, Timed],
    settings: Mapping[str, object],
    variant: str,
    error: BaseException,
) -> None:
    """Keep the reason of a failed variant and nothing else: its weights and what did not fit are memory that the others need."""
    from modbench.harness.call.subject import process_settings

    process_settings.check(settings, variant)  # or the others would be timed under what it left
    end_if_lost(error)
    missing_variants[variant] = missing_after(error)
    timed.pop(variant, None)
    release(error)


def _samples(samples: Samples, metric: AnyMetric, job: Job) -> Samples:
    """Columns of one metric: one lap of a call with laps; seconds per decode step if a call makes many."""
    steps = job.protocol.decode.tokens if metric.per == "step" else 1
    own = {name: values for name, values in samples.items() if "/" not in name}
    # Witnesses cover the whole sample, and a wait is compared with the time that it can have changed: for a step or a quantile
    # over steps that is the whole sample, for a part of a training step only that part.
    if metric.per == "step" or (metric.lap and metric.timer != "parts"):
        own["sample_s"] = [wall * calls for wall, calls in zip(samples["wall_s"], samples["calls"], strict=True)]
    for name in ("wall_s", "cpu_s"):
        column = samples.get(f"{metric.lap}/{name}" if metric.lap else name)
        own.pop(name)
        if column is not None:  # a device event has no CPU time
            own[name] = [seconds / steps for seconds in column]
    return own


def _notes(job: Job, metric: AnyMetric, case: Case, found: Measured, inputs: int) -> TimeNotes:
    grid_point = job.comparison.grid_point
    cpu = "thread" if grid_point.one_thread else "process"
    again = "; ".join(f"{variant}: {what}" for variant, what in found.warmed_up_again.items())
    return TimeNotes(
        clock=f"wall: perf_counter, end to end; cpu: {cpu} time",
        tokens=grid_point.tokens(metric.workload),
        inputs=inputs,
        first_call_s=found.first_call_s.get(case.id),
        steadiness_tested=found.steadiness_tested,
        warmed_up_again=again or None,
        unsteady=found.unsteady.get(case.id),
    )


def _device_notes(timed: Call, batches: list[Tensor], wall_s: list[float]) -> dict[str, Any]:
    """Notes of a GPU: share of the end-to-end time in which the device was busy, waits of the host, and the state of L2."""
    from modbench.harness.call.timing import cuda_events
    from modbench.harness.call.timing.host_sync import syncs

    found = attempt(lambda: cuda_events.device_share(timed, batches[0], median(wall_s)))
    share = {} if isinstance(found, Missing) else found
    waits = attempt(lambda: len(syncs(timed, batches[0])))
    return share | {"syncs": None if isinstance(waits, Missing) else waits, "l2": cuda_events.L2_POLICY}


def jobs(maker: JobMaker, comparison: Comparison, metrics: Sequence[AnyMetric], process: int) -> Iterator[Job]:
    """One job for each group of metrics timed together."""
    for group in dict.fromkeys(metric.group for metric in metrics):
        name = f"{PASS.name}-{group}-{comparison.label}-process{process}"
        flops = maker.timed_flops(comparison.timed, group)
        yield maker.job(name, comparison.timed, PASS.name, flops, workload=group, process=process)


PASS = Pass(
    name="time",
    run=run,
    jobs=jobs,
    notes=TimeNotes,
    phase=Phase.TIME,
    order=1,
    exclusive=True,
    timed=True,
    repeated=True,
    samples="processes",
    column="wall_s",
    statistic="median",
)
