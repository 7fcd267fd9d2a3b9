"""Measure energy: a metric's `measure` is given a `Subject` and returns the call whose joules are read, over windows of seconds.

The driver's counter advances about ten times a second, and some cards' sensors see a quarter of the time (arXiv 2312.02741).
So windows are long, each repeats the call, and the arms' windows run in random order and then in reverse. Idle power is measured
before the first window and reported in the notes; it is not subtracted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case, Comparison, UnitOfWork
from modbench.harness.core.contracts import AnyMetric, Metric
from modbench.harness.core.passes import Pass, Phase
from modbench.harness.machine import busy, nvml
from modbench.harness.results.notes.timing import EnergyNotes
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from modbench.harness.planning.unit_maker import Maker
    from modbench.harness.subject.subject import Subject

    # What a metric's `measure` returns: it is called with a batch of tokens.
    Call = Callable[[Tensor], object]

Columns = dict[str, list[float]]


def run(unit: UnitOfWork, metrics: list[Metric[Subject, Call]]) -> Iterator[Outcome]:
    """Measure one launch: interleaved windows of all arms."""
    place = unit.comparison.place
    device = attempt(partial(_device, place.device))
    if isinstance(device, Gap):
        for metric in metrics:
            yield from (missing(case, metric, device) for case in unit.comparison.arms)
        return
    rng = random.Random(f"{unit.protocol.seed} {unit.name}")  # noqa: S311  # no secret
    calls = {case.id: attempt(partial(_prepare, case, unit, metrics[0])) for case in unit.comparison.arms}
    with busy.busy():
        idle_W = watch_idle(device, unit.protocol.energy.idle_s)
        windows = interleaved(calls, device, unit, rng)
    for metric in metrics:
        for case in unit.comparison.arms:
            call = calls[case.id]
            if isinstance(call, Gap):
                yield missing(case, metric, call)
                continue
            per_call = windows[case.id]
            per = tokens(unit, metric) if metric.per == "token" else 1
            samples = per_call | {"value": [joules / per for joules in per_call["value"]]}
            watts = [joules / wall for joules, wall in zip(per_call["value"], per_call["wall_s"], strict=True)]
            notes = EnergyNotes(idle_W=idle_W, power_W=sum(watts) / len(watts), per=per, how="NVML counter, gross")
            yield measured(case, metric, samples, notes)


def _device(name: str) -> nvml.Device:
    """The driver's view of the device that torch runs on.

    Raises:
        Unmeasured: if there is no such device, or it has no energy counter.
    """
    import pynvml
    import torch

    from modbench.harness.core.errors import Unmeasured

    if name != "cuda":
        raise Unmeasured("energy is read from an NVIDIA driver's counter: this ran on a CPU, for which there is none")
    try:
        device = nvml.Device(str(torch.cuda.get_device_properties(0).uuid))
        device.energy_mJ()
    except pynvml.NVMLError as error:
        raise Unmeasured(f"energy: NVML: {error}") from error
    return device


def _prepare(case: Case, unit: UnitOfWork, metric: Metric[Subject, Call]) -> Callable[[int], object]:
    from modbench.harness.subject.subject import Subject

    subject = Subject(case, unit.protocol.seed, decode=unit.protocol.decode)
    batches = subject.inputs(unit.protocol.seed, 4)
    subject.check(batches[0])
    subject.module.train(metric.workload == "train_step")
    timed = metric.measure(subject)
    for batch in batches:  # libraries plan a kernel for each new shape, which must not fall into a window
        timed(batch)
    return lambda number: timed(batches[number % len(batches)])


def tokens(unit: UnitOfWork, metric: AnyMetric) -> int:
    """Tokens of one call."""
    place = unit.comparison.place
    return place.batch_size * (unit.protocol.decode.tokens if metric.workload == "decode" else place.seq_len)


def watch_idle(device: nvml.Device, seconds: float) -> float:
    """Power in W of the idle device, with a CUDA context."""
    _synchronize()
    joules, start = device.energy_mJ(), time.perf_counter()
    time.sleep(seconds)
    return (device.energy_mJ() - joules) / 1e3 / (time.perf_counter() - start)


def interleaved(
    calls: Mapping[str, Callable[[int], object] | Gap], device: nvml.Device, unit: UnitOfWork, rng: random.Random
) -> dict[str, Columns]:
    """Measure windows of every arm in random order, then in reverse, until each has as many as planned."""
    plan = unit.protocol.energy
    good = {arm: call for arm, call in calls.items() if not isinstance(call, Gap)}
    ready, found = list(good), dict[str, Columns]((arm, {}) for arm in good)
    for block in range(-(-plan.windows // 2)):
        rng.shuffle(ready)
        for position, arm in enumerate(ready + ready[::-1]):
            row = {"round": block, "block": block, "position": position} | _window(good[arm], device, plan.window_s)
            for name, value in row.items():
                found[arm].setdefault(name, []).append(float(value))
    return found


def _window(call: Callable[[int], object], device: nvml.Device, seconds: float) -> dict[str, float]:
    """Joules and seconds per call, averaged over the calls that fill the window."""
    _synchronize()
    joules, start, number = device.energy_mJ(), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call(number)
        _synchronize()  # keeps the queue short, so that the window ends on time
        number += 1
    spent, wall = (device.energy_mJ() - joules) / 1e3, time.perf_counter() - start
    return {"calls": number, "value": spent / number, "wall_s": wall / number}


def _synchronize() -> None:
    import torch

    torch.cuda.synchronize()


def units(maker: Maker, comparison: Comparison, metrics: Sequence[AnyMetric], launch: int) -> Iterator[UnitOfWork]:
    """One unit for each workload; on a CPU only the first launch, which records why there is no energy."""
    if launch and comparison.place.device == "cpu":
        return
    for group in dict.fromkeys(metric.group for metric in metrics):
        name = f"{PASS.name}-{group}-{comparison.place.label}-launch{launch}"
        flops = maker.timed_flops(comparison, group)
        yield maker.unit(name, comparison, PASS.name, flops, workload=group, launch=launch)


PASS = Pass(
    name="energy",
    run=run,
    units=units,
    notes=EnergyNotes,
    phase=Phase.TIME,
    order=2,
    alone=True,
    timed=True,
    repeated=True,
    samples="launches",
    statistic="median",
    settings=lambda suite, _case: suite.energy,
)
