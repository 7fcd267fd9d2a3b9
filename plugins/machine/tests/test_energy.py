"""Windows of energy on a counter that moves in steps, with planted powers, failing variants and a counter that stands still."""

from __future__ import annotations

import random
import sys
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from cuda_jobs import case, job_of
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml, refuse
from present import present

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.records import Missing, Outcome, Record
from modbench.harness.machine import nvml
from modbench.harness.registry import catalogue
from modbench.harness.results.record_checks import usable
from modbench.plugins.machine.energy import measurement as energy
from modbench.plugins.machine.energy.measurement import EnergyNotes
from modbench.plugins.machine.energy.table import EnergyPlan

STEP_S = 0.1


class Meter:
    """A counter of what was drawn, shown as it was at the last step of 0.1 s."""

    def __init__(self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda, self.drawn, self.shown = cuda, 0.0, 0.0
        clock = types.SimpleNamespace(perf_counter=lambda: cuda.host, sleep=lambda s: self.draw(s, 70.0))
        for name in ("time", "clocks"):
            monkeypatch.setattr(energy, name, clock)
        driver = fake_pynvml(nvmlDeviceGetTotalEnergyConsumption=lambda _: int(1e3 * self.shown))
        monkeypatch.setitem(sys.modules, "pynvml", driver)

    def draw(self, seconds: float, watts: float) -> None:
        before, self.cuda.host = self.cuda.host, self.cuda.host + seconds
        for step in range(int(before / STEP_S) + 1, int(self.cuda.host / STEP_S) + 1):
            self.shown = self.drawn + (step * STEP_S - before) * watts
        self.drawn += seconds * watts


def job(*variants: Case, windows: int = 2) -> Job:
    plan = EnergyPlan(windows=windows, window_s=0.5, idle_s=0.5)
    return job_of("energy/total", *(variants or (case("one"),)), rounds=6, settings=plan.model_dump())


@pytest.fixture
def meter(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """The counter of a fake GPU on which a training step draws 300 W for 2 ms."""
    made = Meter(cuda, monkeypatch)
    monkeypatch.setattr(Subject, "train_step", lambda _self, _tokens: made.draw(2e-3, 300.0))
    return made


def windows_of(meter: Meter, windows: int, **watts: float) -> dict[str, Any]:
    """What windows hold of variants that draw so much for 2 ms a call; negative: out of memory after 300 calls."""
    made = Counter[str]()

    def call(name: str) -> Callable[[int], None]:
        def drawing(_number: int) -> None:
            made[name] += 1
            if watts[name] < 0 and made[name] > 300:
                raise RuntimeError("CUDA out of memory")
            meter.draw(2e-3, abs(watts[name]))

        return drawing

    calls: dict[str, Any] = {name: call(name) for name in watts}
    return energy.interleaved(calls, nvml.Device("1"), job(windows=windows), random.Random(1)) | {"calls": calls}


def test_no_window_holds_energy_of_the_variant_before_it(meter: Meter) -> None:
    """Windows of five steps only: an end inside a step would err by a tenth, the other variant's energy by more."""
    found = windows_of(meter, 8, hot=400.0, cool=100.0)
    assert found["hot"]["value"] == pytest.approx([0.8] * 8, rel=0.015)
    assert found["cool"]["value"] == pytest.approx([0.2] * 8, rel=0.015)
    assert found["cool"]["wall_s"] == pytest.approx([2e-3] * 8)


def test_a_window_that_fails_loses_one_variant(meter: Meter) -> None:
    found = windows_of(meter, 4, good=100.0, bad=-400.0)
    assert isinstance(found["calls"]["bad"], Missing)
    assert found["calls"]["bad"].kind == "oom"
    assert len(found["good"]["value"]) == 4


def test_a_counter_that_stands_still_is_none(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvmlDeviceGetTotalEnergyConsumption=lambda _: 7))
    with pytest.raises(Unmeasured, match="advance for 5 s"):
        energy._window(lambda _: meter.draw(2e-3, 1.0), nvml.Device("1"), 0.5)


def test_idle_power_is_read_when_it_has_settled(meter: Meter) -> None:
    """The board's power falls from 270 W to 70 W after the work before."""
    cuda, start = meter.cuda, meter.cuda.host
    energy.time.sleep = lambda s: meter.draw(s, 70 + 200 * 0.2 ** (cuda.host - start))  # type: ignore[attr-defined]
    assert energy.watch_idle(nvml.Device("1"), 0.5) == pytest.approx(70, rel=0.02)
    energy.time.sleep = lambda s: meter.draw(s, 70 + 20 * int(cuda.host))  # type: ignore[attr-defined]
    with pytest.raises(Unmeasured, match="settled after 10 s"):
        energy.watch_idle(nvml.Device("1"), 0.5)


def measured(made: Job) -> Outcome:
    (outcome,) = energy.run(made, [catalogue.metrics()["energy/total"]])
    assert isinstance(outcome, Outcome)
    return outcome


@pytest.mark.usefixtures("meter")
@pytest.mark.parametrize("windows", [2, 3, 8])
def test_what_was_measured_is_believed(windows: int) -> None:
    """A process has as many rounds as its windows need, not as many as a process that is timed."""
    made = job(windows=windows)
    record = Record(job=made, started=atomic_files.now(), wall_s=100.0, outcomes=(measured(made),))
    (outcome,) = usable(record).outcomes
    assert outcome.status == "ok", outcome.reason
    assert len(outcome.samples["value"]) == 2 * -(-windows // 2)


@pytest.mark.usefixtures("meter")
def test_without_idle_power_there_is_energy_and_without_a_counter_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(energy, "watch_idle", refuse)
        outcome = measured(job())
    assert outcome.status == "ok", outcome.reason
    notes = outcome.noted(EnergyNotes)
    assert notes.idle_W is None
    assert present(notes.idle_reason).startswith("FakeNVMLError: Not Supported")
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvmlDeviceGetTotalEnergyConsumption=refuse))
    outcome = measured(job())
    assert (outcome.status, outcome.reason) == ("skipped", "energy: NVML: Not Supported")


@pytest.mark.usefixtures("meter")
def test_every_input_was_seen_before_a_window_of_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Subject, "train_step", lambda _self, tokens_BT: seen.append(tokens_BT.data_ptr()))
    made = job_of("energy/total")
    kept = energy._prepare(made.comparison.variants[0], made, catalogue.metrics()["energy/total"])
    assert len(set(seen)) == 4
    del kept
