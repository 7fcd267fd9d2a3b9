"""CUDA paths with a fake device: what is timed, captured and watched, in which order, and when a number is not to be believed."""

from __future__ import annotations

import gc
import random
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_jobs import case, job_of, timed
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml, refuse

from modbench.harness.call import machine_peak
from modbench.harness.call.step_peak_memory import of_training
from modbench.harness.call.subject.generation import Replay
from modbench.harness.call.subject.subject import Subject
from modbench.harness.call.timing import cuda_events, host_sync
from modbench.harness.call.timing.interleave import Clock, Effort, Session
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.evidence import Evidence
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Blocks, Outcome
from modbench.harness.execution.runner import phases
from modbench.harness.machine import nvml
from modbench.harness.machine.process.graceful_stop import DeviceLost
from modbench.harness.measure.passes import time as time_pass
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan, predicted_seconds
from modbench.harness.registry import catalogue
from modbench.harness.results.measured_or_missing import attempt
from modbench.harness.stats.against_baseline import Process

METRICS = catalogue.metrics()
WARNINGS = {name: catalogue.load("warnings", name) for name in catalogue.entries("warnings")}
TOKENS = torch.zeros(1)


def sampled(key: str, notes: dict[str, Any] | None = None, **columns: float | list[float]) -> Outcome:
    """An outcome of samples in one block, by default of one."""
    values = {name: each if isinstance(each, list) else [each] for name, each in columns.items()}
    n = max(map(len, values.values()))
    noted = catalogue.pass_of(METRICS[key]).notes.model_validate(notes or {})
    samples = {"block": [0.0] * n, "calls": [1.0] * n, **values}
    return Outcome(case=case().id, metric=key, unit="s", status="ok", samples=samples, notes=noted)


def warned(outcome: Outcome, blocks: Blocks | None = None) -> dict[str, str]:
    """What is found wrong with it."""
    process = Process({outcome.case: outcome.samples}, outcome.case, blocks.columns if blocks else {})
    evidence = Evidence(case(), METRICS[outcome.metric], [outcome], [process], timed="wall_s" in outcome.samples)
    return {name: said for name, each in WARNINGS.items() if (said := each.check(evidence))}


def run(key: str, forward: Callable[[Subject, Any], object], patch: pytest.MonkeyPatch, **more: Any) -> list[Outcome]:
    """Time both variants with a forward pass of our own."""
    patch.setattr(Subject, "forward", forward)
    made = time_pass.run(job_of(key, **more), [METRICS[key]])
    return [each for each in made if isinstance(each, Outcome)]


def waiting(cuda: FakeCuda) -> Callable[[Any], None]:
    """A call that reads a value from the device."""

    def forward(_tokens: object) -> None:
        cuda.launch(1e-3)
        cuda.wait()

    return forward


# --- end to end


def test_end_to_end_times_wait_for_the_device_on_both_sides(cuda: FakeCuda) -> None:
    outcome, _ = timed("latency/forward", cuda, device_s=3e-3, host_s=1e-5)
    assert outcome.samples["wall_s"] == pytest.approx([3.01e-3] * 4)
    assert cuda.log[:2] == ["synchronize", "synchronize"]
    notes = outcome.noted(TimeNotes)
    assert notes.device_share == pytest.approx(3e-3 / 3.01e-3)
    assert notes.syncs == 0
    assert str(notes.l2).startswith("warm")
    assert warned(outcome) == {}


def test_a_latency_depends_neither_on_how_often_a_sample_calls_nor_on_the_variant(cuda: FakeCuda) -> None:
    """Launched without a wait, five calls would take 1.85 ms; and the fixed cost of a sample is divided by as many calls."""

    def failed(variant: str, error: BaseException) -> None:
        raise AssertionError(variant) from error

    def samples(clock: Clock, **calls: Callable[[int], object]) -> Any:
        session = Session({**calls}, next(iter(calls)), rng=random.Random(0), clock=clock, on_error=failed)
        return session.measure(Effort(2)).samples

    gpu = samples(
        Clock(cuda.synchronize), slow=lambda _: cuda.launch(2.1e-3, 1e-4), fast=lambda _: cuda.launch(3.5e-4, 1e-4)
    )
    assert gpu["slow"]["wall_s"] == pytest.approx([2.2e-3] * 4)
    assert gpu["fast"]["wall_s"] == pytest.approx([4.5e-4] * 4)
    assert gpu["slow"]["calls"] == gpu["fast"]["calls"] == [5] * 4
    cpu = samples(Clock(), slow=lambda _: cuda.sleep(1.5e-3), fast=lambda _: cuda.sleep(4.5e-4))
    assert (cpu["slow"]["calls"], cpu["fast"]["calls"]) == ([2] * 4, [5] * 4)


def test_every_input_was_seen_before_the_first_sample(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN plans a kernel for each new shape, which takes longer than the call: all inputs, though one call was asked for."""
    monkeypatch.setattr(time_pass, "varies", lambda *_: True)
    seen, at_first, play = set[tuple[str, int]](), list[int](), Session._play

    def played(self: Session, effort: Effort) -> dict[str, str]:
        at_first.append(len(seen))
        return play(self, effort)

    monkeypatch.setattr(Session, "_play", played)

    def forward(subject: Subject, tokens_BT: torch.Tensor) -> None:
        cuda.launch(3e-3)
        seen.add((subject.case.id, tokens_BT.data_ptr()))

    run("latency/forward", forward, monkeypatch)
    protocol = job_of("latency/forward").protocol
    assert at_first[0] == 2 * time_pass.number_of_inputs(protocol.rounds, varying=True) > 2
    assert time_pass._effort(protocol, 0).warm_up_calls == 1  # on a CPU as asked


# --- events behind a spin


def test_device_time_hides_the_process(cuda: FakeCuda) -> None:
    """Behind the spin kernel events see 3 ms of work, not the 2 ms that the host took to launch it."""
    outcome, _ = timed("latency/forward/device", cuda, device_s=3e-3, host_s=2e-3)
    assert outcome.samples["wall_s"] == pytest.approx([3e-3] * 4)
    assert outcome.samples["starved"] == [0] * 4
    assert "cpu_s" not in outcome.samples
    assert warned(outcome) == {}


def test_a_process_bound_case_is_called_one(cuda: FakeCuda) -> None:
    """The host takes 2 ms to launch 1 ms of work: the device waits, and says so."""

    def forward(_tokens: object) -> None:
        for _ in range(10):
            cuda.launch(1e-4, 2e-4)

    share = cuda_events.device_share(forward, TOKENS, 2.1e-3)
    assert (share["device_s"], share["starved"]) == (pytest.approx(1e-3), 0)
    assert "48 %" in warned(sampled("latency/forward", share, wall_s=2.1e-3))["launch_bound"]


def test_a_model_that_synchronises_starves_the_device(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    spins = list[int]()
    monkeypatch.setattr(torch.cuda, "_sleep", spins.append)
    monkeypatch.setattr(cuda_events, "_cycles_per_s", lambda: 1e9)
    timer = cuda_events.DeviceTimer(waiting(cuda), TOKENS)
    assert [spin // spins[0] for spin in spins] == [1, 2, 4, 8]  # tried longer ones, and gave up
    assert [timer(TOKENS)["starved"] for _ in range(6)] == [1] * 6
    assert spins[4:] == [spins[0]] * 6


def test_the_spin_does_not_change_between_samples(cuda: FakeCuda) -> None:
    """A call that takes longer to launch than the one of the calibration is called starved; the next one is timed as before."""
    host_s = [1e-4]
    timer = cuda_events.DeviceTimer(lambda _: cuda.launch(1e-3, host_s[-1]), TOKENS)
    spin = timer.cycles
    for seconds, starved in ((1e-2, 1), (1e-2, 1), (1e-4, 0)):
        host_s.append(seconds)
        assert timer(TOKENS)["starved"] == starved
    assert timer.cycles == spin


@pytest.mark.parametrize(("held_up", "share"), [(0, 0.5), (1, 0.5), (2, 0.5), (3, None)])
def test_one_hiccup_of_the_host_does_not_hide_how_busy_the_device_was(
    held_up: int, share: float | None, cuda: FakeCuda
) -> None:
    """Three warm-up calls, three of the calibration, one trial; of the five that count, so many are held up."""
    host_s = iter([1e-4] * 7 + [1e-2] * held_up + [1e-4] * 5)
    found = cuda_events.device_share(lambda _: cuda.launch(1e-3, next(host_s)), TOKENS, 2e-3)
    assert found["starved"] == pytest.approx(held_up / 5)
    assert found["device_share"] == (share and pytest.approx(share))


def test_work_on_a_side_stream_is_detected(cuda: FakeCuda) -> None:
    """9 of 10 ms run where events do not look: the event says 1 ms, and the harness says that it is not to be believed."""

    def forward(_tokens: object) -> None:
        cuda.launch(1e-3)
        cuda.launch(9e-3, stream="side")

    row = cuda_events.DeviceTimer(forward, TOKENS)(TOKENS)
    assert row["device/wall_s"] == pytest.approx(1e-3)
    assert row["escaped_s"] > 5e-3
    device = "latency/forward/device"
    each = sampled(device, wall_s=row["device/wall_s"], escaped_s=row["escaped_s"])
    assert "100 % of the calls" in warned(each)["side_stream"]
    share = cuda_events.device_share(forward, TOKENS, 1e-2)
    assert "side_stream" in warned(sampled("latency/forward", share, wall_s=1e-2))
    once = sampled(device, wall_s=[1e-3] * 50, escaped_s=[1e-3] + [1e-5] * 49)  # a host that was held up
    assert "side_stream" not in warned(once)


def test_a_variant_is_steady_if_its_device_time_is(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall time of a sample holds the spin and what escaped; the value is the device's, and so is the test of drift."""
    grows = [1e-3]

    def forward(subject: Subject, _tokens: object) -> None:
        cuda.launch(1e-3)
        if subject.case.variant_parts:
            grows[0] *= 1.05
            cuda.launch(grows[0], stream="side")

    outcomes = run("latency/forward/device", forward, monkeypatch, rounds=8)
    for notes in (outcome.noted(TimeNotes) for outcome in outcomes):
        assert (notes.steadiness_tested, notes.unsteady, notes.warmed_up_again) == (True, None, None)
    assert outcomes[1].samples["wall_s"] == pytest.approx([1e-3] * 16)


@pytest.mark.parametrize("key", ["latency/forward/device", "latency/forward/graph", "latency/train_step/device"])
def test_device_timings_are_null_on_a_cpu(key: str) -> None:
    made = case().model_copy(update={"grid_point": case().grid_point.model_copy(update={"device": "cpu"})})
    with pytest.raises(Unmeasured, match="need a CUDA device"):
        METRICS[key].measure(Subject(made, 0))


# --- graphs


def test_a_graph_is_captured_once_and_replayed(cuda: FakeCuda) -> None:
    outcome, _ = timed("latency/forward/graph", cuda, device_s=3e-3, host_s=2e-3)
    assert cuda.log.count("capture") == 1
    assert cuda.log.count("replay") == 1 + 5 + 4  # a quiet call, readings of a settled clock, samples
    assert min(outcome.samples["wall_s"]) >= 3e-3


def test_what_waits_for_the_host_is_never_captured(cuda: FakeCuda) -> None:
    """A capture that fails leaves torch in a state that the other variants would suffer from."""
    with pytest.raises(Unmeasured, match="waits for the host"):
        cuda_events.GraphTimer(waiting(cuda), TOKENS)
    assert "capture" not in cuda.log
    assert (cuda.sync_mode, cuda.current) == (0, "main")


def test_a_capture_that_fails_ends_the_process_and_says_why(cuda: FakeCuda) -> None:
    """torch's allocator may believe from then on that a capture is under way: no other variant may be timed beside it."""
    calls = iter(range(cuda_events.WARM_UP + 1))

    def forward(_tokens: object) -> None:
        if next(calls, None) is None:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(DeviceLost, match=r"capture .*: RuntimeError: operation"):
        attempt(lambda: cuda_events.GraphTimer(forward, TOKENS))
    assert cuda.log[-1] == "capture"
    assert gc.isenabled()


class FakeGraph:
    """A CUDA graph without CUDA: what was captured is run again, its output written to the same memory."""

    captured: Any = None

    def replay(self) -> None:
        replay, step = self.captured
        replay.logits_BV.copy_(step(replay.tokens_B, replay.cache))


@pytest.mark.parametrize("policy", ["budget", "masked"])
def test_a_replayed_step_equals_a_step(policy: str, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up on a side stream, capture, rewind, replay: the same logits and the same cache as decoding eagerly."""
    from modbench.models.mod import MoD

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    shape: dict[str, Any] = {"decode_policy": policy, "d_model": 32, "n_heads": 2, "vocab_size": 50, "max_seq_len": 64}
    module = MoD(ModelConfig(capacity=0.5, router="synthetic", **shape)).eval()
    prompt = torch.randint(50, (4, 8), generator=torch.Generator().manual_seed(1))
    (_, eager), (_, graphed) = module.prefill(prompt), module.prefill(prompt)
    replay = Replay(module, graphed)
    assert cuda.log == ["wait", "wait", "capture"]
    assert graphed.positions == [8] * 4
    replay.graph.captured = (replay, module.decode_step)  # the fake's
    for i in range(5):
        token_B = torch.full((4,), i)
        torch.testing.assert_close(replay(token_B), module.decode(token_B, eager))
    assert graphed.positions == eager.positions
    for ours, theirs in zip(graphed.blocks, eager.blocks, strict=True):
        assert torch.equal(ours.length_B, theirs.length_B)


# --- memory, waits, peaks


def test_peak_comes_from_the_allocator_after_reset(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak, what was reserved, and how often the allocator had to try again; the device idle before each reading."""
    cuda.peak = 12345

    def retry(*_: object) -> None:
        cuda.stats["num_alloc_retries"] = cuda.stats.get("num_alloc_retries", 0) + 1

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", retry)
        seen = of_training(Subject(case(), 0))
    # Half of the fake's peak was there before, and is not the model's: workspaces of libraries, say.
    assert (seen.peak - seen.resident, seen.reserved, seen.retries) == (12345 - 12345 // 2, 24690, 1)
    asked = "synchronize empty allocated reset synchronize allocated synchronize peak reserved"
    assert cuda.log == asked.split()
    outcome = sampled("memory/peak_allocated", {"alloc_retries": seen.retries}, value=seen.peak)
    assert "retried 1 times" in warned(outcome)["allocator_retried"]


def test_waits_are_counted_by_what_torch_warns_of(cuda: FakeCuda) -> None:
    def call() -> None:
        assert cuda.sync_mode == 1
        for said in (host_sync.WARNING, host_sync.WARNING, "something else"):
            warnings.warn(said, stacklevel=1)

    assert [where.partition(":")[0] for where in host_sync._warned(call)] == ["test_cuda.py"] * 2
    assert cuda.sync_mode == 0


def test_the_peak_of_a_gpu_holds_no_launching(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 0.2 ms, launched in 10 µs: by the host's clock the machine would be 5 % slower than it is."""
    monkeypatch.setattr(machine_peak, "clocks", types.SimpleNamespace(perf_counter=lambda: cuda.host))
    start = cuda.host
    assert machine_peak._best_s(lambda: cuda.launch(2e-4, 1e-5), "cuda") == pytest.approx(2e-4)
    assert cuda.host - start >= 1.0


# --- the driver, and the plan


@pytest.mark.parametrize(
    ("changes", "warning", "words"),
    [
        ({}, "power_limited", "100 % of the blocks"),
        ({"nvmlDeviceGetCurrentClocksEventReasons": lambda _: 0x40}, "noisy", "(throttled: 4 samples)"),
        (
            {"nvmlDeviceGetComputeRunningProcesses": lambda _: ["this one", "another"]},
            "noisy",
            "(another process on the GPU: 4 samples)",
        ),
    ],
)
def test_blocks_witness_clocks_power_and_what_disturbs_them(
    changes: dict[str, Any], warning: str, words: str, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**changes))
    outcome, blocks = timed("latency/forward", cuda, device_s=3e-3)
    seen = {name: values[0] for name, values in blocks.columns.items()}
    known = ("sm_mhz", "memory_mhz", "power_W", "temperature_C")
    assert [seen[name] for name in known] == [1980, 2619, 512, 61]
    assert changes or (seen["throttle"], seen["foreign"]) == (4, 0)
    said = warned(outcome, blocks)
    assert words in said[warning]
    assert "100 % of" in said[warning]
    assert changes or said.keys() == {warning}


def test_a_device_is_described_and_what_is_refused_is_null_with_a_reason_and_has_no_column(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cuda

    def driver(**changes: Any) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**changes))

    (device,) = nvml.devices()["devices"]
    known = ("name", "driver", "memory_bytes", "power_limit_mW", "ecc_mode", "mig_mode")
    assert [device[name] for name in known] == ["Fake H100", "590.1", 80 * 2**30, None, 1, 0]
    driver(nvmlDeviceGetPowerUsage=refuse)
    assert set(nvml.watched().levels) == {"sm_mhz", "memory_mhz", "temperature_C", "throttle", "foreign", "unanswered"}
    driver(nvmlInit=refuse)
    assert nvml.watched() == nvml.Watched({}, {}, "NVML: Not Supported")
    assert nvml.devices()["devices"] == []
    assert "Not Supported" in nvml.devices()["reason"]
    driver(nvmlDeviceGetCount=lambda: 0)
    assert "no device" in nvml.devices()["reason"]


def test_a_clock_has_settled_when_five_readings_agree() -> None:
    readings = iter([1000, 1500, 1900, 1980, 1980, 1975, 1980, 1980])
    ready = nvml.settled(lambda: next(readings))
    assert [ready() for _ in range(8)] == [False] * 7 + [True]


def test_on_cuda_every_job_runs_alone_and_cold() -> None:
    suite = override(load_suite("quick"), Overrides(device="cuda"))
    made = make_plan(suite, device="cuda", text=Text("t", b"a" * 999, b"b" * 999, "x"))
    assert {slots.at_once for slots in phases(made, cores=16)} == {1}
    assert predicted_seconds(made, made.jobs[0], 1) > 4  # a fresh interpreter each
    assert made.cases[0].id == "dense[T128-B1-fp32-cuda]"
    protocol = next(job.protocol for job in made.jobs if job.made_in == "time")
    assert (protocol.warm_up_calls, protocol.warm_up_s) == (10, 1.0)
