"""What a time on a GPU means: a latency whatever the number of calls, a spin that stays, inputs that were seen. A fake driver."""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_jobs import job_of
from fake_cuda import FakeCuda

from modbench.harness.call import machine_peak
from modbench.harness.call.subject.subject import Subject
from modbench.harness.call.timing import cuda_events
from modbench.harness.call.timing.interleave import Clock, Effort, Measured, Session
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Outcome
from modbench.harness.measure.passes import time as time_pass
from modbench.harness.registry import catalogue

Forward = Callable[[Subject, torch.Tensor], object]


def run(key: str, forward: Forward, monkeypatch: pytest.MonkeyPatch, **more: Any) -> list[Outcome]:
    """Time both variants with a forward pass of our own."""
    monkeypatch.setattr(Subject, "forward", forward)
    made = time_pass.run(job_of(key, **more), [catalogue.metrics()[key]])
    return [each for each in made if isinstance(each, Outcome)]


def session(calls: dict[str, Callable[[int], object]], clock: Clock, rounds: int = 2, **more: Any) -> Measured:
    def never(variant: str, error: BaseException) -> None:
        raise AssertionError(variant) from error

    made = Session(dict(calls), next(iter(calls)), rng=random.Random(0), clock=clock, on_error=never, **more)
    return made.measure(Effort(rounds))


def test_a_latency_does_not_depend_on_how_often_a_sample_calls(cuda: FakeCuda) -> None:
    """Launched without a wait, five calls of 0.3 + 0.1 ms would take 1.6 ms: the host launches while the device works."""
    calls: dict[str, Callable[[int], object]] = {
        "slow": lambda _: cuda.launch(2.1e-3, 1e-4),
        "fast": lambda _: cuda.launch(3e-4, 1e-4),
    }
    found = session(calls, Clock(cuda.synchronize)).samples
    assert found["slow"]["wall_s"] == pytest.approx([2.2e-3] * 4)
    assert found["fast"]["wall_s"] == pytest.approx([4e-4] * 4)


def test_all_variants_of_a_gpu_are_called_equally_often(cuda: FakeCuda) -> None:
    """Else the fixed cost of a sample would be divided by another number in each variant, in favour of the faster one."""
    calls: dict[str, Callable[[int], object]] = {
        "slow": lambda _: cuda.sleep(1.5e-3),
        "fast": lambda _: cuda.sleep(4.5e-4),
    }
    gpu = session(calls, Clock(cuda.synchronize)).samples
    assert gpu["slow"]["calls"] == gpu["fast"]["calls"] == [5] * 4
    cpu = session(calls, Clock()).samples
    assert (cpu["slow"]["calls"], cpu["fast"]["calls"]) == ([2] * 4, [5] * 4)


def test_every_input_was_seen_before_the_first_sample(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN plans a kernel for each new shape, which takes longer than the call: all inputs, though one call was asked for."""
    monkeypatch.setattr(time_pass, "varies", lambda *_: True)
    seen: set[tuple[str, int]] = set()
    at_first: list[int] = []
    play = Session._play

    def played(self: Session, effort: Effort) -> dict[str, str]:
        at_first.append(len(seen))
        return play(self, effort)

    monkeypatch.setattr(Session, "_play", played)

    def forward(subject: Subject, tokens_BT: torch.Tensor) -> None:
        cuda.launch(3e-3)
        seen.add((subject.case.id, tokens_BT.data_ptr()))

    run("latency/forward", forward, monkeypatch)
    inputs = time_pass.number_of_inputs(job_of("latency/forward").protocol.rounds, varying=True)
    assert inputs > 1
    assert at_first[0] == 2 * inputs
    assert time_pass._effort(job_of("latency/forward").protocol, 0).warm_up_calls == 1  # on a CPU as asked


def test_a_variant_is_steady_if_its_device_time_is(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall time of a sample holds the spin and what escaped; the value is the device's, and so is the test of drift."""
    calls = [0]

    def forward(subject: Subject, _tokens: object) -> None:
        cuda.launch(1e-3)
        if subject.case.variant_parts:
            calls[0] += 1
            cuda.launch(1e-3 * 1.05 ** calls[0], stream="side")

    outcomes = run("latency/forward/device", forward, monkeypatch, rounds=8)
    assert [outcome.noted(TimeNotes).steadiness_tested for outcome in outcomes] == [True] * 2
    assert [outcome.noted(TimeNotes).unsteady for outcome in outcomes] == [None] * 2
    assert [outcome.noted(TimeNotes).warmed_up_again for outcome in outcomes] == [None] * 2
    assert outcomes[1].samples["wall_s"] == pytest.approx([1e-3] * 16)


def test_the_spin_does_not_change_between_samples(cuda: FakeCuda) -> None:
    """A call that takes longer to launch than the one of the calibration is called starved; the next one is timed as before."""
    host_s = [1e-4]
    timer = cuda_events.DeviceTimer(lambda _tokens: cuda.launch(1e-3, host_s[0]), torch.zeros(1))
    spin = timer.cycles
    host_s[0] = 1e-2
    assert [timer(torch.zeros(1))["starved"] for _ in range(3)] == [1] * 3
    host_s[0] = 1e-4
    assert timer(torch.zeros(1))["starved"] == 0
    assert timer.cycles == spin


def test_one_hiccup_of_the_host_does_not_hide_how_busy_the_device_was(cuda: FakeCuda) -> None:
    """Three warm-up calls, three of the calibration, one trial; of the five that count, so many are held up."""

    def held_up(number: int) -> dict[str, Any]:
        calls = [0]

        def forward(_tokens: object) -> None:
            calls[0] += 1
            cuda.launch(1e-3, 1e-2 if 7 < calls[0] <= 7 + number else 1e-4)

        return cuda_events.device_share(forward, torch.zeros(1), 2e-3)

    assert [held_up(number)["starved"] for number in range(4)] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert [held_up(number)["device_share"] for number in range(3)] == pytest.approx([0.5] * 3)
    assert held_up(3)["device_share"] is None


def test_the_peak_of_a_gpu_holds_no_launching(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 0.2 ms, launched in 10 µs: by the host's clock the machine would be 5 % slower than it is."""
    cuda = FakeCuda().install(monkeypatch)
    monkeypatch.setattr(machine_peak, "clocks", types.SimpleNamespace(perf_counter=lambda: cuda.host))
    start = cuda.host
    assert machine_peak._best_s(lambda: cuda.launch(2e-4, 1e-5), "cuda") == pytest.approx(2e-4)
    assert cuda.host - start >= 1.0
