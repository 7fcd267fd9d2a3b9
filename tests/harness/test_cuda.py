"""CUDA paths with a fake driver: what is called, in which order, and what a missing driver says. No GPU is needed."""

from __future__ import annotations

import gc
import sys
import warnings
from typing import Any

import pytest
import torch
from cuda_jobs import case, timed
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml, refuse

from modbench.harness.call.step_peak_memory import of_training
from modbench.harness.call.subject.subject import Subject
from modbench.harness.call.timing import cuda_events, host_sync
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.evidence import Evidence
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Blocks, Outcome
from modbench.harness.execution.runner import phases
from modbench.harness.machine import nvml
from modbench.harness.machine.process.graceful_stop import DeviceLost
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan, predicted_seconds
from modbench.harness.registry import catalogue
from modbench.harness.results.measured_or_missing import attempt
from modbench.harness.stats.against_baseline import Process

DOUBTS = {name: catalogue.load("warnings", name) for name in catalogue.entries("warnings")}


def sampled(key: str, notes: dict[str, Any] | None = None, **columns: float) -> Outcome:
    """An outcome of one sample."""
    samples = {"block": [0.0], "calls": [1.0], **{name: [value] for name, value in columns.items()}}
    noted = catalogue.pass_of(catalogue.metrics()[key]).notes.model_validate(notes or {})
    return Outcome(case=case().id, metric=key, unit="s", status="ok", samples=samples, notes=noted)


def doubted(outcome: Outcome, blocks: Blocks | None = None) -> dict[str, str]:
    """What is found wrong with it."""
    process = Process({outcome.case: outcome.samples}, outcome.case, blocks.columns if blocks else {})
    metric, timed = catalogue.metrics()[outcome.metric], "wall_s" in outcome.samples
    evidence = Evidence(case(), metric, [outcome], [process], timed=timed)
    return {name: said for name, doubt in DOUBTS.items() if (said := doubt.check(evidence))}


def test_end_to_end_times_wait_for_the_device_on_both_sides(cuda: FakeCuda) -> None:
    outcome, _ = timed("latency/forward", cuda, device_s=3e-3, host_s=1e-5)
    assert outcome.samples["wall_s"] == pytest.approx([3.01e-3] * 4)
    assert cuda.log[:2] == ["synchronize", "synchronize"]
    assert outcome.noted(TimeNotes).device_share == pytest.approx(3e-3 / 3.01e-3)
    assert str(outcome.noted(TimeNotes).l2).startswith("warm")
    assert outcome.noted(TimeNotes).syncs == 0
    assert doubted(outcome) == {}


def test_a_process_bound_case_is_called_one(cuda: FakeCuda) -> None:
    """The host takes 2 ms to launch 1 ms of work: the device waits, and says so."""

    def forward(_tokens: object) -> None:
        for _ in range(10):
            cuda.launch(1e-4, 2e-4)

    share = cuda_events.device_share(forward, torch.zeros(1), 2.1e-3)
    assert share["device_s"] == pytest.approx(1e-3)
    assert share["starved"] == 0
    outcome = sampled("latency/forward", share, wall_s=2.1e-3)
    assert "48 %" in doubted(outcome)["launch_bound"]


def test_device_time_hides_the_process(cuda: FakeCuda) -> None:
    """Behind the spin kernel events see 3 ms of work, not the 2 ms that the host took to launch it."""
    outcome, _ = timed("latency/forward/device", cuda, device_s=3e-3, host_s=2e-3)
    assert outcome.samples["wall_s"] == pytest.approx([3e-3] * 4)
    assert outcome.samples["starved"] == [0] * 4
    assert "cpu_s" not in outcome.samples
    assert doubted(outcome) == {}


def test_a_model_that_synchronises_starves_the_device(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(_tokens: object) -> None:
        cuda.launch(1e-3)
        cuda.wait()

    spins: list[int] = []
    monkeypatch.setattr(torch.cuda, "_sleep", spins.append)
    monkeypatch.setattr(cuda_events, "_cycles_per_s", lambda: 1e9)
    timer = cuda_events.DeviceTimer(forward, torch.zeros(1))
    assert [spin // spins[0] for spin in spins] == [1, 2, 4, 8]  # tried longer ones, and gave up
    assert [timer(torch.zeros(1))["starved"] for _ in range(6)] == [1] * 6
    assert spins[4:] == [spins[0]] * 6


def test_work_on_a_side_stream_is_detected(cuda: FakeCuda) -> None:
    """9 of 10 ms run where events do not look: the event says 1 ms, and the harness says that it is not to be believed."""

    def forward(_tokens: object) -> None:
        cuda.launch(1e-3)
        cuda.launch(9e-3, stream="side")

    row = cuda_events.DeviceTimer(forward, torch.zeros(1))(torch.zeros(1))
    share = cuda_events.device_share(forward, torch.zeros(1), 1e-2)
    assert row["device/wall_s"] == pytest.approx(1e-3)
    assert row["escaped_s"] > 5e-3
    outcome = sampled("latency/forward/device", wall_s=row["device/wall_s"], escaped_s=row["escaped_s"])
    assert "100 % of the calls" in doubted(outcome)["side_stream"]
    assert "side_stream" in doubted(sampled("latency/forward", share, wall_s=1e-2))
    calls = {"wall_s": [1e-3] * 50, "escaped_s": [1e-3] + [1e-5] * 49, "block": [0.0] * 50, "calls": [1.0] * 50}
    once = sampled("latency/forward/device").model_copy(update={"samples": calls})
    assert "side_stream" not in doubted(once)  # a host that was held up


def test_a_graph_is_captured_once_and_replayed(cuda: FakeCuda) -> None:
    outcome, _ = timed("latency/forward/graph", cuda, device_s=3e-3, host_s=2e-3)
    assert cuda.log.count("capture") == 1
    assert cuda.log.count("replay") == 1 + 5 + 4  # a quiet call, readings of a settled clock, samples
    assert min(outcome.samples["wall_s"]) >= 3e-3


def test_what_waits_for_the_host_is_never_captured(cuda: FakeCuda) -> None:
    """A capture that fails leaves torch in a state that the other variants would suffer from."""

    def forward(_tokens: object) -> None:
        cuda.launch(1e-3)
        cuda.wait()

    with pytest.raises(Unmeasured, match="waits for the host"):
        cuda_events.GraphTimer(forward, torch.zeros(1))
    assert "capture" not in cuda.log
    assert cuda.sync_mode == 0
    assert cuda.current == "main"


def test_a_capture_that_fails_ends_the_process_and_says_why(cuda: FakeCuda) -> None:
    """torch's allocator may believe from then on that a capture is under way: no other variant may be timed beside it."""
    calls = [0]

    def forward(_tokens: object) -> None:
        calls[0] += 1
        if calls[0] > cuda_events.WARM_UP + 1:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(DeviceLost, match=r"capture .*: RuntimeError: operation"):
        attempt(lambda: cuda_events.GraphTimer(forward, torch.zeros(1)))
    assert cuda.log[-1] == "capture"
    assert gc.isenabled()


def test_device_timings_are_null_on_a_cpu() -> None:
    made = case().model_copy(update={"grid_point": case().grid_point.model_copy(update={"device": "cpu"})})
    for key in ("latency/forward/device", "latency/forward/graph", "latency/train_step/device"):
        with pytest.raises(Unmeasured, match="need a CUDA device"):
            catalogue.metrics()[key].measure(Subject(made, 0))


def test_blocks_witness_clocks_power_and_other_processes(cuda: FakeCuda) -> None:
    outcome, blocks = timed("latency/forward", cuda, device_s=3e-3)
    seen = {name: values[0] for name, values in blocks.columns.items()}
    assert (seen["sm_mhz"], seen["memory_mhz"], seen["power_W"]) == (1980, 2619, 512)
    assert (seen["temperature_C"], seen["throttle"], seen["foreign"]) == (61, 4, 0)
    assert doubted(outcome, blocks).keys() == {"power_limited"}
    assert "100 % of the blocks" in doubted(outcome, blocks)["power_limited"]


@pytest.mark.parametrize(
    ("query", "answer", "cause"),
    [
        ("nvmlDeviceGetCurrentClocksEventReasons", lambda _: 0x40, "throttled"),
        ("nvmlDeviceGetComputeRunningProcesses", lambda _: ["this one", "another"], "another process on the GPU"),
    ],
)
def test_a_noisy_gpu_is_named(query: str, answer: Any, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**{query: answer}))
    outcome, blocks = timed("latency/forward", cuda, device_s=3e-3)
    said = doubted(outcome, blocks)["noisy"]
    assert "100 % of its blocks" in said
    assert f"({cause}: 4 samples)" in said


def test_an_old_driver_is_asked_by_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    old = fake_pynvml(nvmlDeviceGetCurrentClocksThrottleReasons=lambda _: 0x8)
    monkeypatch.setitem(sys.modules, "pynvml", old)

    def refuse(_: object) -> int:
        raise old.NVMLError(13)

    old.nvmlDeviceGetCurrentClocksEventReasons = refuse  # a new binding, an old driver
    assert nvml.watched().levels["throttle"]() == 8
    del old.nvmlDeviceGetCurrentClocksEventReasons  # an old binding
    assert nvml.watched().levels["throttle"]() == 8


def test_a_clock_has_settled_when_five_readings_agree() -> None:
    readings = iter([1000, 1500, 1900, 1980, 1980, 1975, 1980, 1980])
    ready = nvml.settled(lambda: next(readings))
    assert [ready() for _ in range(8)] == [False] * 7 + [True]


def test_peak_comes_from_the_allocator_after_reset(cuda: FakeCuda) -> None:
    """Peak, what was reserved, and how often the allocator had to try again; the device idle before each reading."""
    cuda.peak = 12345

    def retry(*_: object) -> None:
        cuda.stats["num_alloc_retries"] = cuda.stats.get("num_alloc_retries", 0) + 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", retry)
        seen = of_training(Subject(case(), 0))
    # Half of the fake's peak was there before, and is not the model's: workspaces of libraries, say.
    assert (seen.peak - seen.resident, seen.reserved, seen.retries) == (12345 - 12345 // 2, 24690, 1)
    assert cuda.log == [
        "synchronize",
        "empty",
        "allocated",
        "reset",
        "synchronize",
        "allocated",
        "synchronize",
        "peak",
        "reserved",
    ]
    outcome = sampled("memory/peak_allocated", {"alloc_retries": seen.retries}, value=seen.peak)
    assert "retried 1 times" in doubted(outcome)["allocator_retried"]


def test_waits_are_counted_by_what_torch_warns_of(cuda: FakeCuda) -> None:
    def call() -> None:
        assert cuda.sync_mode == 1
        for _ in range(2):
            warnings.warn(host_sync.WARNING, stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert [grid_point.partition(":")[0] for grid_point in host_sync._warned(call)] == ["test_cuda.py"] * 2
    assert cuda.sync_mode == 0


def test_on_cuda_every_job_runs_alone_and_cold() -> None:
    suite = override(load_suite("quick"), Overrides(device="cuda"))
    made = make_plan(suite, device="cuda", text=Text("t", b"a" * 999, b"b" * 999, "x"))
    assert {slots.at_once for slots in phases(made, cores=16)} == {1}
    assert predicted_seconds(made, made.jobs[0], 1) > 4  # a fresh interpreter each
    assert made.cases[0].id == "dense[T128-B1-fp32-cuda]"
    timed_job = next(job for job in made.jobs if job.made_in == "time")
    assert timed_job.protocol.warm_up_calls == 10
    assert timed_job.protocol.warm_up_s == 1.0


def test_a_device_is_described_and_what_is_refused_is_null_with_a_reason_and_has_no_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeCuda().install(monkeypatch)

    def driver(**changes: Any) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**changes))

    driver()
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


class FakeGraph:
    """A CUDA graph without CUDA: what was captured is run again, its output written to the same memory."""

    captured: Any = None

    def replay(self) -> None:
        replay, step = self.captured
        replay.logits_BV.copy_(step(replay.tokens_B, replay.cache))


@pytest.mark.parametrize("policy", ["budget", "masked"])
def test_a_replayed_step_equals_a_step(policy: str, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up on a side stream, capture, rewind, replay: the same logits and the same cache as decoding eagerly."""
    from modbench.harness.call.subject.generation import Replay
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
