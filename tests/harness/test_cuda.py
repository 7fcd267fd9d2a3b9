"""CUDA paths with a fake driver: what is called, in which order, and what a missing driver says. No GPU is needed."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from modbench.harness import catalogue, nvml
from modbench.harness.case import Case, Comparison, Place, Protocol, TrainPlan, UnitOfWork
from modbench.harness.config import ModelConfig
from modbench.harness.overrides import Overrides, override
from modbench.harness.passes import timing
from modbench.harness.plan import make_plan, predicted_seconds
from modbench.harness.runner import phases
from modbench.harness.suite import load_suite


def case() -> Case:
    place = Place(seq_len=8, batch_size=1, dtype="fp32", device="cuda", threads=1, compile=False)
    config = ModelConfig.model_validate({"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 8})
    return Case(model="dense", arm_parts=(), config=config, place=place)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torch.cuda with a log instead of a device; tensors stay where they are."""
    calls: list[str] = []

    def noting(name: str, result: Any = None) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            calls.append(name)
            return result

        return call

    monkeypatch.setattr(torch.cuda, "synchronize", noting("synchronize"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", noting("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", noting("peak", 12345))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    return calls


def test_every_timed_call_is_fenced_by_synchronisation(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from modbench.harness.subject import Subject

    monkeypatch.setattr(Subject, "forward", lambda _self, _tokens: log.append("forward"))
    protocol = Protocol(
        rounds=2, warm_up_calls=1, seed=0, train=TrainPlan(), corpus="stdlib", corpus_path=None, corpus_sha256=""
    )
    comparison = Comparison(arms=(case(),), metrics=("latency/forward",))
    fields: dict[str, Any] = {"name": "u", "made_in": "time", "workload": "forward", "launch": 0, "flops": 1.0}
    unit = UnitOfWork(comparison=comparison, protocol=protocol, **fields)
    (outcome,) = timing.run(unit, [catalogue.metrics()["latency/forward"]])
    assert outcome.status == "ok"
    assert len(outcome.samples["wall_s"]) == 4
    # Between two synchronisations there are only calls of one sample; the log starts and ends idle.
    assert log[0] == log[-1] == "synchronize"
    assert log.count("synchronize") == 2 * 5
    text = " ".join("S" if entry == "synchronize" else "f" for entry in log)
    assert "f f S" in text or "f S" in text
    assert all(part.strip() in {"", "f"} or set(part.split()) == {"f"} for part in text.split("S"))


def test_peak_comes_from_the_allocator_after_reset(log: list[str]) -> None:
    from modbench.harness.subject import Subject

    peak = catalogue.metrics()["memory/peak_allocated"].measure(Subject(case(), 0))
    assert peak == 12345
    assert log == ["synchronize", "reset", "synchronize", "peak"]


def test_on_cuda_every_unit_runs_alone_and_cold() -> None:
    suite = override(load_suite("quick"), Overrides(device="cuda"))
    from modbench.harness.contracts import Text

    made = make_plan(suite, device="cuda", text=Text("t", b"a" * 999, b"b" * 999, "x"))
    assert {slots.at_once for slots in phases(made, cores=16)} == {1}
    assert predicted_seconds(made, made.units[0], 1) > 4  # a fresh interpreter each
    assert made.cases[0].id == "dense[T128-B1-fp32-cuda]"


class FakeNVMLError(Exception):
    pass


def fake_pynvml(**changes: Any) -> Any:
    """A driver with one device that refuses one query."""

    def refuse(*_: Any) -> Any:
        raise FakeNVMLError("Not Supported")

    functions: dict[str, Any] = {
        "NVMLError": FakeNVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: b"590.1",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetName": lambda _: "Fake H100",
        "nvmlDeviceGetUUID": lambda _: "GPU-1",
        "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(total=80 * 2**30),
        "nvmlDeviceGetEnforcedPowerLimit": refuse,
        "nvmlDeviceGetPersistenceMode": lambda _: 1,
    }
    return types.SimpleNamespace(**{**functions, **changes})


def test_a_device_is_described_and_a_refused_query_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", fake_pynvml())
    (device,) = nvml.devices()["devices"]
    assert device["name"] == "Fake H100"
    assert device["driver"] == "590.1"
    assert device["memory_bytes"] == 80 * 2**30
    assert device["power_limit_mW"] is None


def test_no_driver_is_a_reason_and_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise FakeNVMLError("NVML Shared Library Not Found")

    monkeypatch.setitem(__import__("sys").modules, "pynvml", fake_pynvml(nvmlInit=absent))
    found = nvml.devices()
    assert found["devices"] == []
    assert "NVML Shared Library Not Found" in found["reason"]
    monkeypatch.setitem(__import__("sys").modules, "pynvml", fake_pynvml(nvmlDeviceGetCount=lambda: 0))
    assert "no device" in nvml.devices()["reason"]


class FakeGraph:
    """A CUDA graph without CUDA: what was captured is run again, its output written to the same memory."""

    captured: Any = None

    def replay(self) -> None:
        replay, step = self.captured
        replay.logits_BV.copy_(step(replay.tokens_B, replay.cache))


@pytest.mark.parametrize("policy", ["budget", "masked"])
def test_a_replayed_step_equals_a_step(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up on a side stream, capture, rewind, replay: the same logits and the same cache as decoding eagerly."""
    import contextlib

    from modbench.harness.replay import Replay
    from modbench.models.mod import MoD

    order: list[str] = []

    class Stream:
        def wait_stream(self, _other: object) -> None:
            order.append("wait")

    @contextlib.contextmanager
    def block(name: str) -> Any:
        order.append(name)
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _side: block("stream"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda _graph: block("capture"))
    shape: dict[str, Any] = {"decode_policy": policy, "d_model": 32, "n_heads": 2, "vocab_size": 50, "max_seq_len": 64}
    module = MoD(ModelConfig(capacity=0.5, router="synthetic", **shape)).eval()
    prompt = torch.randint(50, (4, 8), generator=torch.Generator().manual_seed(1))
    (_, eager), (_, graphed) = module.prefill(prompt), module.prefill(prompt)
    replay = Replay(module, graphed)
    assert order == ["wait", "stream", "wait", "capture"]
    assert graphed.positions == [8] * 4
    replay.graph.captured = (replay, module.decode_step)  # type: ignore[attr-defined]  # the fake's
    for i in range(5):
        token_B = torch.full((4,), i)
        torch.testing.assert_close(replay(token_B), module.decode(token_B, eager))
    assert graphed.positions == eager.positions
    for ours, theirs in zip(graphed.blocks, eager.blocks, strict=True):
        assert torch.equal(ours.length_B, theirs.length_B)
