"""Labels on samples, from what witnesses saw; and the witnesses themselves."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time

import pytest
import torch

from modbench.commands.doctor import aa_comparisons
from modbench.harness.call.timing.interleave import Clock, Effort, Session
from modbench.harness.machine import counter_sampler
from modbench.harness.machine.counter_sampler import Collector, CounterSampler
from modbench.harness.measure.passes import time as time_pass
from modbench.harness.registry import catalogue
from modbench.harness.stats import noise, trend_test

Columns = dict[str, list[float]]


def samples(**columns: float) -> Columns:
    """One sample of 10 ms in block 0."""
    return {"block": [0.0], "wall_s": [0.005], "calls": [2.0], **{name: [value] for name, value in columns.items()}}


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"wait_s": 0.0002}, "preempted"),
        ({"wait_s": 0.00009}, None),
        ({"wait_s": 0.0, "involuntary": 3}, None),
        ({"involuntary": 1}, "preempted"),  # where the wait is not known
        ({"collect_s": 0.004}, None),  # the model's own cost
        ({"recompiles": 1}, "recompiled"),
        ({"wait_s": 0.0002, "sample_s": 0.64}, None),  # of 64 steps of which one is the value: witnesses saw all
        ({"wait_s": 0.0128, "sample_s": 0.64}, "preempted"),
    ],
)
def test_a_sample_is_labelled_with_its_cause(seen: dict[str, float], cause: str | None) -> None:
    assert noise.causes(samples(**seen)) == [frozenset({cause} if cause else ())]


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"steal_s": 0.02}, "stolen by other guests"),
        ({"steal_s": 0.0}, None),
        ({"pressure_s": 0.5}, None),  # of the whole machine: recorded and shown, no verdict on one thread
        ({"throttle": 0x20}, "throttled"),
        ({"throttle": 0x4}, None),  # a power cap is normal at full load
        ({"foreign": 1}, "another process on the GPU"),
    ],
)
def test_a_block_is_labelled_with_its_cause(seen: dict[str, float], cause: str | None) -> None:
    blocks = {"block": [0.0], "wall_s": [1.0], **{name: [value] for name, value in seen.items()}}
    assert noise.causes(samples(), blocks) == [frozenset({cause} if cause else ())]


@pytest.mark.parametrize(
    ("metric", "watched"),
    [
        ("latency/decode", True),  # one of 64 steps
        ("latency/decode/p95", True),  # a quantile over steps
        ("latency/forward/device", True),  # an event inside the call
        ("latency/forward", False),  # the call itself
        ("latency/train_step/backward", False),  # a wait counts against the part that it can have moved
    ],
)
def test_a_wait_is_held_against_what_was_watched(metric: str, watched: bool) -> None:
    job = aa_comparisons.jobs(1, "cpu", 1)[0]
    lap = catalogue.metrics()[metric].lap
    seen = {"block": [0.0], "wall_s": [0.32], "cpu_s": [0.32], "calls": [2.0], f"{lap}/wall_s": [0.01]}
    own = time_pass._samples(seen, catalogue.metrics()[metric], job)
    assert own.get("sample_s") == ([0.64] if watched else None)


def test_a_slow_clock_is_slow_against_the_runs_own() -> None:
    many = {"block": [0.0, 1.0, 2.0], "wall_s": [0.01] * 3, "calls": [1.0] * 3}
    blocks = {"block": [0.0, 1.0, 2.0], "wall_s": [1.0] * 3, "sm_mhz": [1900.0, 1980.0, 1500.0]}
    found = noise.causes(many, blocks)
    assert found == [frozenset(), frozenset(), frozenset({"slow GPU clock"})]


def test_a_block_is_noisy_where_one_of_its_samples_is() -> None:
    both = {"block": [0.0, 0.0, 1.0], "wall_s": [0.01] * 3, "calls": [1.0] * 3, "wait_s": [0.0, 0.009, 0.0]}
    assert noise.noisy(both).tolist() == [False, True, False]
    assert noise.share_of_blocks(both) == 0.5
    assert noise.counted(noise.causes(both)) == {"preempted": 1}


def test_a_witness_tells_growth_from_level() -> None:
    count, level = [10.0], [5.0]
    seen = CounterSampler({"n": lambda: count[0]}, {"mhz": lambda: level[0]})
    before = seen.read()
    count[0], level[0] = 13.0, 7.0
    assert seen.since(before) == {"n": 3.0, "mhz": 7.0}
    assert seen.columns == ("n", "mhz")


def test_the_garbage_collector_is_timed_while_it_is_listened_to() -> None:
    collector = Collector()
    gc.collect()
    once = collector.seconds
    assert once > 0
    collector.close()
    gc.collect()
    assert collector.seconds == once


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux exposes")
def test_waiting_for_a_processor_is_seen() -> None:
    """Two threads on one core: this one waits while the other runs."""
    collector = Collector()
    seen = counter_sampler.of_samples(1, collector)
    assert {"wait_s", "involuntary", "collect_s", "recompiles"} <= set(seen.columns)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    other = threading.Thread(target=spin)
    try:
        other.start()
        before = seen.read()
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            sum(range(1000))
        grown = seen.since(before)
    finally:
        stop.set()
        other.join()
        os.sched_setaffinity(0, cores)
        collector.close()
    assert grown["wait_s"] > 0
    assert grown["recompiles"] == 0


@pytest.mark.slow
def test_a_recompile_inside_the_timed_region_is_detected() -> None:
    """A really compiled function meets a new shape once while it is timed: that sample is labelled, and no other."""
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: x * 2 + 1, backend="eager", dynamic=False)
    sizes: list[int] = []

    def variant(_: int) -> None:
        sizes.append(3 if len(sizes) == 9 else 2)
        compiled(torch.ones(sizes[-1]))
        time.sleep(0.002)  # a sample is then one call

    collector = Collector()
    session = Session(
        {"a": variant},
        "a",
        rng=random.Random(0),
        clock=Clock(),
        on_error=lambda name, error: pytest.fail(f"{name}: {error}"),
        of_samples=counter_sampler.of_samples(1, collector),
    )
    seen = session.measure(Effort(5, warm_up_calls=3)).samples["a"]
    collector.close()
    marks = noise.causes(seen)
    assert ["recompiled" in mark for mark in marks] == [size == 3 for size in sizes[-10:]]
    assert 3 in sizes[-10:]


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux exposes")
def test_blocks_witness_the_machine() -> None:
    seen = counter_sampler.of_blocks()
    assert {"steal_s", "load"} <= set(seen.columns)
    assert all(value >= 0 for value in seen.since(seen.read()).values())


def test_what_a_system_does_not_expose_has_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent witness is not a quiet one."""
    monkeypatch.setattr(counter_sampler, "text_of", lambda _path: None)
    assert {"steal_s", "pressure_s"}.isdisjoint(counter_sampler.of_blocks().columns)

    def refuse(*_: object) -> int:
        raise OSError

    monkeypatch.setattr(os, "open", refuse)
    collector = Collector()
    assert "wait_s" not in counter_sampler.of_samples(1, collector).columns
    collector.close()


@pytest.mark.slow
def test_the_level_is_shared_out_among_variants() -> None:
    """400 processes of eight noisy variants: about one in a hundred processes is called unsteady, not one in twelve."""
    rng = random.Random(0)
    called = sum(
        bool(trend_test.unsteady({f"variant{i}": [rng.gauss(0, 0.02) for _ in range(12)] for i in range(8)}))
        for _ in range(400)
    )
    assert called / 400 <= 0.025


def test_too_few_blocks_are_not_tested() -> None:
    assert not trend_test.testable([5], 1)
    assert trend_test.testable([6], 1)
    assert not trend_test.testable([6], 8)
    assert not trend_test.testable([2] * 7, 1)
    assert trend_test.testable([2] * 8, 1)
    assert trend_test.testable([6] * 10, 8)
    assert trend_test.unsteady({"a": [0.0, 0.1, 0.2, 0.3, 0.4]}) == {}
