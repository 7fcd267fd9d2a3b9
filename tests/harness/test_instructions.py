"""Instructions retired: counted where the kernel allows it, and no column anywhere else."""

from __future__ import annotations

import os
import platform
import struct
import sys
import time
from collections.abc import Callable

import pytest

from modbench.commands.doctor import aa_comparisons
from modbench.harness.execution import worker
from modbench.harness.machine import counter_sampler
from modbench.harness.machine.counter_sampler import Collector

Plant = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Let the system call return a pipe that holds readings (count, time enabled, time running), and list its arguments."""

    def planted(*readings: tuple[int, int, int]) -> list[tuple[object, ...]]:
        asked: list[tuple[object, ...]] = []

        def call(*arguments: object) -> int:
            asked.append(arguments)
            handle, to = os.pipe()
            os.write(to, b"".join(struct.pack("3Q", *each) for each in readings))
            os.close(to)
            return handle

        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(counter_sampler, "_system_call", call)
        return asked

    return planted


def test_growth_over_a_sample_is_scaled_to_the_time_that_the_counter_ran(plant: Plant) -> None:
    asked = plant((5, 1, 1), (1000, 10, 10), (3000, 40, 20))
    collector = Collector()
    assert "instructions" not in counter_sampler.of_samples(2, collector).columns  # of several threads
    seen = counter_sampler.of_samples(1, collector)
    collector.close()
    assert seen.since(seen.read())["instructions"] == 5000
    number, attributes, *where = asked[0]
    assert (number, where) == (298, [0, -1, -1, 8])  # this thread on any processor, closed when another program starts
    # type, size, event, period, sample type, read format; then the bits exclude_kernel and exclude_hv
    assert struct.unpack_from("=IIQQQQQ", attributes) == (0, len(attributes), 1, 0, 0, 3, 0x60)  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "counts"), [((5, 1, 1), True), ((0, 1, 1), False), ((0, 1, 0), False)])
def test_a_counter_that_stands_still_is_no_column(first: tuple[int, int, int], counts: bool, plant: Plant) -> None:
    plant(first)
    assert len(counter_sampler.thread_counter()) == counts


def test_what_the_kernel_refuses_and_other_systems_lack_is_no_column(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plant((5, 1, 1))
    for owner, name, value in ((platform, "machine", lambda: "riscv64"), (sys, "platform", "darwin")):
        with monkeypatch.context() as there:
            there.setattr(owner, name, value)
            assert counter_sampler.thread_counter() == {}
    assert asked == []
    monkeypatch.setattr(counter_sampler, "_system_call", lambda *_: -1)
    assert counter_sampler.thread_counter() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux exposes")
def test_the_real_system_call_counts_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an event that guests without counters have too: nanoseconds of the thread, against its own clock."""
    monkeypatch.setattr(counter_sampler, "EVENT", (1, 1))
    found = counter_sampler.thread_counter()
    if not found:
        pytest.skip("this kernel refuses perf_event_open")
    (read,) = found.values()
    before, start = read(), time.thread_time()
    while time.thread_time() < start + 0.02:
        pass
    assert 0.019e9 <= read() - before < 0.03e9  # two clocks, which the kernel brings up to date apart


def test_a_process_keeps_the_column(plant: Plant) -> None:
    """Through the worker, which fails an outcome with a column that it does not know."""
    plant((5, 1, 1), *((1000 * i, i, i) for i in range(1, 400)))
    job, *_ = aa_comparisons.jobs(1, "cpu", 1)
    outcomes = worker.make_record(job).outcomes
    assert [each.reason for each in outcomes] == [None, None]
    assert all({*each.samples["instructions"]} == {1000.0} for each in outcomes)
