"""What the driver is asked while something is measured: which device, which counts, and what a failing query does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from cuda_jobs import case, timed
from fake_cuda import FakeCuda
from fake_nvml import FakeNVMLError, fake_pynvml

from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.evidence import Evidence
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.machine import counter_sampler, nvml
from modbench.harness.registry import catalogue
from modbench.harness.stats import noise
from modbench.harness.stats.against_baseline import Process


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


Driver = Callable[..., None]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Put a driver in place whose answers differ in what is named."""
    return lambda **changes: monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**changes))


def fields(ns_of: dict[int, Callable[[], int]]) -> Any:
    """`nvmlDeviceGetFieldValues` of a driver that counts these nanoseconds, as unsigned 64-bit values."""

    def answer(_handle: object, numbers: list[int]) -> list[Any]:
        (number,) = numbers
        if number not in ns_of:
            return [SimpleNamespace(nvmlReturn=3, valueType=0, value=None)]
        return [SimpleNamespace(nvmlReturn=0, valueType=3, value=SimpleNamespace(ullVal=ns_of[number]()))]

    return answer


def test_a_cap_in_the_middle_of_a_block_is_seen(cuda: FakeCuda, driver: Driver) -> None:
    """The bits are read when the GPU is idle again and show nothing; the driver's count shows half of the time."""
    capped = fields({74: lambda: int(cuda.host * 0.5e9), 270: lambda: 0})
    driver(nvmlDeviceGetFieldValues=capped, nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x1)
    outcome, blocks = timed("latency/forward", cuda, device_s=1e-2)
    assert blocks.columns["power_capped_s"] == pytest.approx([wall / 2 for wall in blocks.columns["wall_s"]], rel=1e-3)
    assert "power_brake_s" not in blocks.columns  # this driver has no such count
    process = Process({outcome.case: outcome.samples}, outcome.case, blocks.columns)
    evidence = Evidence(case(), catalogue.metrics()[outcome.metric], [outcome], [process])
    assert "100 % of the blocks" in str(catalogue.load("warnings", "power_limited").check(evidence))


def test_the_bit_counts_only_where_there_is_no_count() -> None:
    blocks = {"block": [0.0, 1.0], "wall_s": [1.0, 1.0], "throttle": [4.0, 0.0]}
    assert noise.power_capped(blocks) == [True, False]
    assert noise.power_capped({**blocks, "power_capped_s": [0.005, 0.3]}) == [False, True]


def test_heat_in_the_middle_of_a_block_disturbs_it() -> None:
    samples = {"block": [0.0, 1.0], "wall_s": [0.01, 0.01], "calls": [1.0, 1.0]}
    blocks = {"block": [0.0, 1.0], "wall_s": [1.0, 1.0], "throttle": [0.0, 0.0], "thermal_hw_s": [0.02, 0.005]}
    assert noise.causes(samples, blocks) == [frozenset({"throttled"}), frozenset()]


def test_a_query_that_fails_later_ends_no_run(cuda: FakeCuda, driver: Driver) -> None:
    """It repeats its last value, and says so: the block was not watched."""
    power = mock.Mock(side_effect=[300_000, 300_000, FakeNVMLError("Unknown Error"), *[300_000] * 99])
    count = fields({74: lambda: 0})

    def lost(handle: object, _numbers: object) -> Any:
        if power.called:
            raise FakeNVMLError("GPU is lost")
        return count(handle, [74])

    driver(nvmlDeviceGetPowerUsage=power, nvmlDeviceGetFieldValues=lost)
    outcome, blocks = timed("latency/forward", cuda, device_s=1e-2)
    assert outcome.status == "ok"
    assert blocks.columns["power_W"] == [300.0, 300.0]
    assert blocks.columns["unanswered"][-1] > 0
    (cause,) = noise.causes(outcome.samples, blocks.columns)[-1]
    assert cause.startswith("not watched: ")


MIG = "MIG-1"


def by_uuid(uuid: str) -> str:
    """torch gives the identifier of an instance of a card without its prefix."""
    if uuid != MIG:
        raise FakeNVMLError("Not Found")
    return uuid


DIVIDED = {
    "nvmlDeviceGetHandleByUUID": by_uuid,
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda _: "card",
    "nvmlDeviceGetMigMode": lambda handle: [int(handle == "card")] * 2,
}


@pytest.mark.parametrize("answers", [DIVIDED, {"nvmlDeviceGetMigMode": lambda _: [1, 1]}], ids=["instance", "card"])
def test_an_instance_has_no_energy_of_its_own(answers: dict[str, Any], driver: Driver) -> None:
    """Also where torch gave the card's own identifier."""
    driver(**answers)
    with pytest.raises(Unmeasured, match=r"divided \(MIG\)"):
        nvml.Device("1").energy_mJ()


def test_a_step_on_a_gpu_is_watched_in_all_threads(
    cuda: FakeCuda, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backward pass launches its kernels from autograd's thread: what delays that one delays the step."""
    driver()
    watched = mock.Mock(wraps=counter_sampler.of_samples)
    monkeypatch.setattr(counter_sampler, "of_samples", watched)
    outcome, _ = timed("latency/forward", cuda, device_s=1e-2)
    assert watched.call_args.args[0] == 2
    assert "cpu: process time" in outcome.noted(TimeNotes).clock
