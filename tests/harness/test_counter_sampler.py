"""The witnesses of samples and blocks: counters of the system, of the garbage collector and of compilation."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from modbench.harness.call.timing.interleave import Clock, Effort, Session
from modbench.harness.machine import counter_sampler
from modbench.harness.machine.counter_sampler import Collector, CounterSampler
from modbench.harness.stats import noise


def test_a_witness_tells_growth_from_level() -> None:
    count, level = [10.0], [5.0]
    seen = CounterSampler({"n": lambda: count[0]}, {"mhz": lambda: level[0]})
    before = seen.read()
    count[0], level[0] = 13.0, 7.0
    assert seen.since(before) == {"n": 3.0, "mhz": 7.0}
    assert seen.columns == ("n", "mhz")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Listens to the garbage collector."""
    made = Collector()
    yield made
    made.close()


def test_the_garbage_collector_is_timed_while_it_is_listened_to() -> None:
    collector = Collector()
    gc.collect()
    once = collector.seconds
    assert once > 0
    collector.close()
    gc.collect()
    assert collector.seconds == once


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux exposes")
def test_waiting_for_a_processor_is_seen_and_so_is_the_machine(collector: Collector) -> None:
    """Two threads on one core: this one waits while the other runs."""
    machine, seen = counter_sampler.of_blocks(), counter_sampler.of_samples(1, collector)
    assert {"wait_s", "involuntary", "collect_s", "recompiles"} <= set(seen.columns)
    assert {"steal_s", "load"} <= set(machine.columns)
    assert all(value >= 0 for value in machine.since(machine.read()).values())
    cores, stop = os.sched_getaffinity(0), threading.Event()
    os.sched_setaffinity(0, {min(cores)})

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    other = threading.Thread(target=spin)
    try:
        other.start()
        before, until = seen.read(), time.thread_time() + 0.05
        while time.thread_time() < until:
            sum(range(1000))
        grown = seen.since(before)
    finally:
        stop.set()
        other.join()
        os.sched_setaffinity(0, cores)
    assert grown["wait_s"] > 0
    assert grown["recompiles"] == 0


@pytest.mark.slow
def test_a_recompile_inside_the_timed_region_is_detected(collector: Collector) -> None:
    """A really compiled function meets a new shape once while it is timed: that sample is labelled, and no other."""
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: x * 2 + 1, backend="eager", dynamic=False)
    sizes: list[int] = []

    def variant(_: int) -> None:
        sizes.append(3 if len(sizes) == 9 else 2)
        compiled(torch.ones(sizes[-1]))
        time.sleep(0.002)  # a sample is then one call

    def failed(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    witness = counter_sampler.of_samples(1, collector)
    session = Session({"a": variant}, "a", rng=random.Random(0), clock=Clock(), on_error=failed, of_samples=witness)
    marks = noise.causes(session.measure(Effort(5, warm_up_calls=3)).samples["a"])
    assert ["recompiled" in mark for mark in marks] == [size == 3 for size in sizes[-10:]]
    assert 3 in sizes[-10:]


def test_what_a_system_does_not_expose_has_no_column(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """An absent witness is not a quiet one."""
    monkeypatch.setattr(counter_sampler, "text_of", lambda _path: None)
    assert {"steal_s", "pressure_s"}.isdisjoint(counter_sampler.of_blocks().columns)

    def refuse(*_: object) -> int:
        raise OSError

    monkeypatch.setattr(os, "open", refuse)
    assert "wait_s" not in counter_sampler.of_samples(1, collector).columns
