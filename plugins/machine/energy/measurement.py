"""Measure energy: a metric's `measure` is given a `Subject` and returns the call whose joules are read, over windows of seconds.

The driver's counter advances about ten times a second, and some cards' sensors see a quarter of the time (arXiv 2312.02741).
So windows are long, reach from one step of the counter to another, and repeat the call; the variants' windows run in random
order and then in reverse. Idle power is measured before the first window, when it has settled, and reported in the notes; it
is not subtracted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from modbench.extend import (
    AnyMetric,
    Case,
    Comparison,
    Divisor,
    Job,
    JobMaker,
    Metric,
    Missing,
    Notes,
    Outcome,
    Pass,
    Phase,
    Unmeasured,
    attempt,
    busy,
    clocks,
    measured,
    missing,
    nvml,
)
from modbench.plugins.machine.energy.table import EnergyPlan

if TYPE_CHECKING:
    from torch import Tensor

    from modbench.extend import Subject

    # What a metric's `measure` returns: it is called with a batch of tokens.
    Call = Callable[[Tensor], object]

Columns = dict[str, list[float]]

# Idle power has settled when two readings of this many seconds differ by at most this share; so many are tried.
SETTLING_S, SETTLED, MOST_SETTLING = 1.0, 0.02, 10
REST_S = 0.005
# The counter advances every 0.1 s: if it stands still for so long, it is not one.
STANDS_STILL_S = 5.0


class EnergyNotes(Notes):
    """How energy was measured.

    Attributes:
        idle_W: power of the idle device before the first window, in W; None if it could not be read.
        idle_reason: why not.
        power_W: mean power in the windows, in W.
        per: divisor of the joules of a call.
        how: how energy was read.
    """

    idle_W: float | None
    idle_reason: str | None = None
    power_W: float = Field(gt=0)
    per: Divisor
    how: str


def run(job: Job, metrics: list[Metric[Subject, Call]]) -> Iterator[Outcome]:
    """Measure one process: interleaved windows of all variants."""
    grid_point = job.comparison.grid_point
    device = attempt(partial(_device, grid_point.device))
    if isinstance(device, Missing):
        for metric in metrics:
            yield from (missing(case, metric, device) for case in job.comparison.variants)
        return
    rng = random.Random(f"{job.protocol.seed} {job.name}")  # noqa: S311  # no secret
    calls = {case.id: attempt(partial(_prepare, case, job, metrics[0])) for case in job.comparison.variants}
    with busy():
        idle = attempt(partial(watch_idle, device, EnergyPlan.given(job.protocol).idle_s))
        windows = interleaved(calls, device, job, rng)
    for metric in metrics:
        for case in job.comparison.variants:
            call = calls[case.id]
            if isinstance(call, Missing):
                yield missing(case, metric, call)
                continue
            per_call = windows[case.id]
            per = tokens(job, metric) if metric.per == "token" else 1
            samples = per_call | {"value": [joules / per for joules in per_call["value"]]}
            watts = [joules / wall for joules, wall in zip(per_call["value"], per_call["wall_s"], strict=True)]
            notes = EnergyNotes(
                idle_W=None if isinstance(idle, Missing) else idle,
                idle_reason=idle.reason if isinstance(idle, Missing) else None,
                power_W=sum(watts) / len(watts),
                per=per,
                how="NVML counter, from step to step, gross",
            )
            yield measured(case, metric, samples, notes)


def _device(name: str) -> nvml.Device:
    """The driver's view of the device that torch runs on.

    Raises:
        Unmeasured: if there is no such device, or it has no energy counter.
    """
    import pynvml
    import torch

    if name != "cuda":
        raise Unmeasured("energy is read from an NVIDIA driver's counter: this ran on a CPU, for which there is none")
    try:
        device = nvml.Device(str(torch.cuda.get_device_properties(0).uuid))
        device.energy_mJ()
    except pynvml.NVMLError as error:
        raise Unmeasured(f"energy: NVML: {error}") from error
    return device


def _prepare(case: Case, job: Job, metric: Metric[Subject, Call]) -> Callable[[int], object]:
    from modbench.extend import Subject

    subject = Subject(case, job.protocol.seed, decode=job.protocol.decode)
    batches = subject.inputs(job.protocol.seed, 4)
    subject.check(batches[0])
    subject.module.train(metric.workload == "train_step")
    timed = metric.measure(subject)
    for batch in batches:  # libraries plan a kernel for each new shape, which must not fall into a window
        timed(batch)
    return lambda number: timed(batches[number % len(batches)])


def tokens(job: Job, metric: AnyMetric) -> int:
    """Tokens of one call."""
    grid_point = job.comparison.grid_point
    return grid_point.batch_size * (job.protocol.decode.tokens if metric.workload == "decode" else grid_point.seq_len)


def watch_idle(device: nvml.Device, seconds: float) -> float:
    """Power in W of the idle device, with a CUDA context, once it has settled after the work before.

    Raises:
        Unmeasured: if it does not settle.
    """
    _synchronize()
    last = _resting_W(device, SETTLING_S)
    for _ in range(MOST_SETTLING):
        now = _resting_W(device, SETTLING_S)
        if abs(now - last) <= SETTLED * max(now, last):
            return _resting_W(device, seconds)
        last = now
    raise Unmeasured(f"the idle device had not settled after {MOST_SETTLING} s: it drew {last:.0f} W")


def _resting_W(device: nvml.Device, seconds: float) -> float:  # noqa: N802  # the job's own spelling
    def rest() -> None:
        time.sleep(REST_S)

    start = _next_step(device, rest)
    while clocks.perf_counter() - start.at < seconds:
        rest()
    end = _next_step(device, rest)
    return (end.joules - start.joules) / (end.at - start.at)


def interleaved(
    calls: dict[str, Callable[[int], object] | Missing], device: nvml.Device, job: Job, rng: random.Random
) -> dict[str, Columns]:
    """Measure windows of every variant in random order, then in reverse, until each has as many as planned.

    A variant whose window fails is replaced in `calls` by the reason; the others go on.
    """
    plan = EnergyPlan.given(job.protocol)
    found = dict[str, Columns]((variant, {}) for variant, call in calls.items() if not isinstance(call, Missing))
    ready = list(found)
    for block in range(rounds(job)):
        rng.shuffle(ready)
        for position, variant in enumerate(ready + ready[::-1]):
            call = calls[variant]
            if isinstance(call, Missing):
                continue
            window = attempt(partial(_window, call, device, plan.window_s))
            if isinstance(window, Missing):
                calls[variant] = window
                continue
            for name, value in ({"round": block, "block": block, "position": position} | window).items():
                found[variant].setdefault(name, []).append(float(value))
    return found


def _window(call: Callable[[int], object], device: nvml.Device, seconds: float) -> dict[str, float]:
    """Joules and seconds per call, averaged over the calls between two steps of the counter.

    The variant runs before the first step too, so that the window holds nothing of the variant before it.
    """
    _synchronize()
    number = 0

    def act() -> None:
        nonlocal number
        call(number)
        _synchronize()  # keeps the queue short, so that a step is noticed in time
        number += 1

    start = _next_step(device, act)
    before = number
    while clocks.perf_counter() - start.at < seconds:
        act()
    end = _next_step(device, act)
    made = number - before
    return {"calls": made, "value": (end.joules - start.joules) / made, "wall_s": (end.at - start.at) / made}


class _Step(NamedTuple):
    joules: float
    at: float


def _next_step(device: nvml.Device, act: Callable[[], None]) -> _Step:
    """The counter and the time when it next advances; `act` is repeated until then.

    Raises:
        Unmeasured: if it stands still.
    """
    seen, asked = device.energy_mJ(), clocks.perf_counter()
    while (now := device.energy_mJ()) == seen:
        if clocks.perf_counter() - asked > STANDS_STILL_S:
            raise Unmeasured(f"energy: the counter did not advance for {STANDS_STILL_S:g} s")
        act()
    return _Step(now / 1e3, clocks.perf_counter())


def _synchronize() -> None:
    import torch

    torch.cuda.synchronize()


def jobs(maker: JobMaker, comparison: Comparison, metrics: Sequence[AnyMetric], process: int) -> Iterator[Job]:
    """One job for each workload; on a CPU only the first process, which records why there is no energy."""
    if process and comparison.grid_point.device == "cpu":
        return
    for group in dict.fromkeys(metric.group for metric in metrics):
        name = f"{PASS.name}-{group}-{comparison.grid_point.label}-process{process}"
        flops = maker.timed_flops(comparison, group)
        yield maker.job(name, comparison, PASS.name, flops, workload=group, process=process)


def rounds(job: Job) -> int:
    """Blocks of a process: in each, every variant has one window in each direction."""
    return -(-EnergyPlan.given(job.protocol).windows // 2)


def longest(job: Job) -> float:
    """Seconds of all windows at most; each lasts until a call has ended and the counter has moved."""
    plan, calls = EnergyPlan.given(job.protocol), 2 * len(job.comparison.variants)
    return MOST_SETTLING * SETTLING_S + 2 * (plan.idle_s + plan.windows * plan.window_s * calls)


PASS = Pass(
    name="energy",
    run=run,
    jobs=jobs,
    notes=EnergyNotes,
    phase=Phase.TIME,
    order=2,
    exclusive=True,
    timed=True,
    repeated=True,
    samples="processes",
    rounds=rounds,
    statistic="median",
    fixed_overhead_s=longest,
    table=EnergyPlan,
)
