"""What the driver is asked while something is measured: which device, which counts, and what a failing query does."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from cuda_jobs import case, timed
from fake_cuda import FakeCuda
from fake_nvml import FakeNVMLError, fake_pynvml, refuse

from modbench.harness.call.subject.subject import clock_of
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.evidence import Evidence
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.machine import counter_sampler, nvml
from modbench.harness.registry import catalogue
from modbench.harness.stats import noise
from modbench.harness.stats.against_baseline import Process

MIG = "MIG-1"


def driver(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    made = fake_pynvml(**changes)
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def fields(ns_of: dict[int, Any]) -> Any:
    """`nvmlDeviceGetFieldValues` of a driver that counts these nanoseconds, as unsigned 64-bit values."""

    def answer(_handle: object, numbers: list[int]) -> list[Any]:
        (number,) = numbers
        if number not in ns_of:
            return [types.SimpleNamespace(nvmlReturn=3, valueType=0, value=None)]
        value = types.SimpleNamespace(ullVal=ns_of[number]())
        return [types.SimpleNamespace(nvmlReturn=0, valueType=3, value=value)]

    return answer


def test_a_cap_in_the_middle_of_a_block_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits are read when the GPU is idle again and show nothing; the driver's count shows half of the time."""
    cuda = FakeCuda().install(monkeypatch)
    capped = fields({74: lambda: int(cuda.host * 0.5e9), 270: lambda: 0})
    driver(monkeypatch, nvmlDeviceGetFieldValues=capped, nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x1)
    outcome, blocks = timed("latency/forward", cuda, device_s=1e-2)
    assert blocks.columns["power_capped_s"] == pytest.approx([wall / 2 for wall in blocks.columns["wall_s"]], rel=1e-3)
    assert "power_brake_s" not in blocks.columns  # this driver has no such count
    process = Process({outcome.case: outcome.samples}, outcome.case, blocks.columns)
    evidence = Evidence(case(), catalogue.metrics()[outcome.metric], [outcome], [process])
    doubt = catalogue.load("warnings", "power_limited").check(evidence)
    assert "100 % of the blocks" in str(doubt)


def test_the_bit_counts_only_where_there_is_no_count() -> None:
    blocks = {"block": [0.0, 1.0], "wall_s": [1.0, 1.0], "throttle": [4.0, 0.0]}
    assert noise.power_capped(blocks) == [True, False]
    assert noise.power_capped({**blocks, "power_capped_s": [0.005, 0.3]}) == [False, True]


def test_heat_in_the_middle_of_a_block_disturbs_it() -> None:
    samples = {"block": [0.0, 1.0], "wall_s": [0.01, 0.01], "calls": [1.0, 1.0]}
    blocks = {"block": [0.0, 1.0], "wall_s": [1.0, 1.0], "throttle": [0.0, 0.0], "thermal_hw_s": [0.02, 0.005]}
    assert noise.causes(samples, blocks) == [frozenset({"throttled"}), frozenset()]


def test_an_older_driver_counts_violations(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    violated = lambda _handle, policy: types.SimpleNamespace(violationTime=[3e9, 7e9][policy])  # noqa: E731
    driver(monkeypatch, nvmlDeviceGetFieldValues=fields({}), nvmlDeviceGetViolationStatus=violated)
    assert {name: reader() for name, reader in nvml.watched().counters.items()} == {
        "power_capped_s": 3.0,
        "thermal_s": 7.0,
    }


def test_a_query_that_fails_later_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It repeats its last value, and says so: the block was not watched."""
    cuda, asked = FakeCuda().install(monkeypatch), [0]

    def power(_handle: object) -> int:
        asked[0] += 1
        if asked[0] == 3:
            raise FakeNVMLError("Unknown Error")
        return 300_000

    def energy_field(_handle: object, _numbers: object) -> Any:
        if asked[0]:
            raise FakeNVMLError("GPU is lost")
        return fields({74: lambda: 0})(_handle, [74])

    driver(monkeypatch, nvmlDeviceGetPowerUsage=power, nvmlDeviceGetFieldValues=energy_field)
    outcome, blocks = timed("latency/forward", cuda, device_s=1e-2)
    assert outcome.status == "ok"
    assert blocks.columns["power_W"] == [300.0, 300.0]
    assert blocks.columns["unanswered"][-1] > 0
    (cause,) = noise.causes(outcome.samples, blocks.columns)[-1]
    assert cause.startswith("not watched: ")


def test_without_a_driver_the_notes_say_why_nothing_was_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    driver(monkeypatch, nvmlInit=refuse)
    outcome, _ = timed("latency/forward", cuda, device_s=1e-2)
    assert outcome.noted(TimeNotes).unwatched == "NVML: Not Supported"


def divided(**changes: Any) -> dict[str, Any]:
    """A card with an instance: torch gives the instance's identifier, without a prefix."""

    def by_uuid(uuid: str) -> str:
        if uuid != MIG:
            raise FakeNVMLError("Not Found")
        return uuid

    return {
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda _: "card",
        "nvmlDeviceGetMigMode": lambda handle: [int(handle == "card")] * 2,
        **changes,
    }


def test_an_instance_is_found_and_its_clock_is_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    clocks = {"card": 1980}
    free = {MIG: 10 * 2**30}
    driver(
        monkeypatch,
        **divided(
            nvmlDeviceGetClockInfo=lambda handle, _kind: clocks[handle],
            nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(free=free[handle]),
        ),
    )
    assert nvml.watched().levels["sm_mhz"]() == 1980
    assert nvml.Device("1").free_bytes() == 10 * 2**30


def test_an_instance_has_no_energy_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    driver(monkeypatch, **divided())
    with pytest.raises(Unmeasured, match=r"divided \(MIG\)"):
        nvml.Device("1").energy_mJ()
    driver(monkeypatch, nvmlDeviceGetMigMode=lambda _: [1, 1])  # torch gave the card's own identifier
    with pytest.raises(Unmeasured, match=r"divided \(MIG\)"):
        nvml.Device("1").energy_mJ()


def test_a_step_on_a_gpu_is_watched_in_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass launches its kernels from autograd's thread: what delays that one delays the step."""
    real, seen = counter_sampler.of_samples, list[int]()
    cuda = FakeCuda().install(monkeypatch)
    driver(monkeypatch)

    def of_samples(threads: int, collector: counter_sampler.Collector) -> counter_sampler.CounterSampler:
        seen.append(threads)
        made = real(threads, collector)
        return counter_sampler.CounterSampler({name: made.counters[name] for name in ("collect_s",)})

    monkeypatch.setattr(counter_sampler, "of_samples", of_samples)
    outcome, _ = timed("latency/forward", cuda, device_s=1e-2)
    assert seen == [2]
    assert "cpu: process time" in outcome.noted(TimeNotes).clock


def test_cpu_time_beside_a_gpu_is_the_processs() -> None:
    import time

    assert clock_of(case().grid_point).cpu_s is time.process_time
    on_cpu = case().grid_point.model_copy(update={"device": "cpu"})
    assert clock_of(on_cpu).cpu_s is time.thread_time
    assert clock_of(case().grid_point).synchronize is torch.cuda.synchronize
