"""What one variant does to a GPU, and what the others must not notice: errors that last, memory, settings, waits."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_jobs import case, job_of
from fake_cuda import FakeCuda

from modbench.harness.call.subject import process_settings
from modbench.harness.call.subject.subject import Subject
from modbench.harness.call.timing import cuda_events, host_sync
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.records import Missing, Outcome
from modbench.harness.execution.worker import environment_of
from modbench.harness.machine.process.graceful_stop import DeviceLost
from modbench.harness.measure.passes import time as time_pass
from modbench.harness.registry import catalogue
from modbench.harness.results.measured_or_missing import attempt

Forward = Callable[[Subject, torch.Tensor], object]
LOST = "CUDA error: device-side assert triggered"


def run(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome]:
    """Time both variants with a forward pass of our own."""
    monkeypatch.setattr(Subject, "forward", forward)
    made = time_pass.run(job_of("latency/forward"), [catalogue.metrics()["latency/forward"]])
    return {each.case: each for each in made if isinstance(each, Outcome)}


def is_aa_control(subject: Subject) -> bool:
    return subject.case.variant_parts == ("aa_control",)


def test_a_variant_that_breaks_the_device_ends_the_process(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every later call would fail in the name of another variant. The process ends, without the record of a job."""
    listening, calls = list(gc.callbacks), [0]

    def forward(subject: Subject, _tokens: object) -> None:
        cuda.launch(3e-3)
        calls[0] += is_aa_control(subject)
        if calls[0] == 6:
            cuda.lost = LOST
            raise IndexError("a Python error that came of it")

    with pytest.raises(DeviceLost, match=LOST):
        run(forward, monkeypatch)
    assert gc.callbacks == listening


def test_a_device_that_answers_is_not_lost(cuda: FakeCuda) -> None:
    def fails() -> None:
        raise RuntimeError("CUDA out of memory")

    assert isinstance(attempt(fails), Missing)
    cuda.lost = LOST
    with pytest.raises(DeviceLost, match=LOST):
        attempt(fails)
    with pytest.raises(DeviceLost):  # what follows a reason, too
        attempt(lambda: cuda_events.require("cpu"))


def test_a_variant_that_ran_out_of_memory_gives_all_of_it_back(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, gradients and the tensors of the step that failed are gone before the allocator's blocks are given back."""
    held: list[weakref.ref[Any]] = []
    gone: list[list[bool]] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append([each() is None for each in held]))
    calls = [0]

    def forward(subject: Subject, _tokens: object) -> None:
        cuda.launch(3e-3)
        calls[0] += is_aa_control(subject)
        if is_aa_control(subject) and calls[0] == 6:
            activations = torch.zeros(3)
            held[:] = [weakref.ref(activations), weakref.ref(subject.module), weakref.ref(subject)]
            raise torch.OutOfMemoryError("CUDA out of memory")

    outcomes = run(forward, monkeypatch)
    assert gone == [[True] * 3]
    kinds = {variant: outcome.kind for variant, outcome in outcomes.items()}
    assert [kinds[variant] for variant in sorted(kinds, key=lambda variant: "aa_control" in variant)] == [None, "oom"]


WAITS: dict[str, Callable[[], object]] = {
    "torch.cuda.synchronize": lambda: torch.cuda.synchronize(),  # noqa: PLW0108  # looked up when it is called
    "Event.synchronize": lambda: torch.cuda.Event(enable_timing=True).synchronize(),
    "Stream.synchronize": lambda: torch.cuda.current_stream().synchronize(),
    "Event.query": lambda: torch.cuda.Event(enable_timing=True).query(),
    "Stream.query": lambda: torch.cuda.current_stream().query(),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_that_a_model_asks_for_is_never_captured(name: str, cuda: FakeCuda) -> None:
    """torch's debug mode does not see it; in a capture it would be an error that lasts."""

    def forward(_tokens: object) -> None:
        cuda.launch(1e-3)
        WAITS[name]()

    with pytest.raises(Unmeasured, match=f"the host.*called {name}"):
        cuda_events.GraphTimer(forward, torch.zeros(1))
    assert "capture" not in cuda.log
    assert (cuda.sync_mode, cuda.current) == (0, "main")
    WAITS[name]()  # allowed again


def test_a_wait_that_a_model_asks_for_counts(cuda: FakeCuda) -> None:
    def call() -> None:
        for wait in WAITS.values():
            wait()

    said = host_sync._warned(call)
    assert [grid_point.partition(":")[0] for grid_point in said] == ["test_cuda_faults.py"] * 3  # a question is no wait
    assert cuda.sync_mode == 0


def test_nothing_is_collected_while_a_graph_is_captured(cuda: FakeCuda) -> None:
    """Collecting an older graph or event would break the capture."""
    collects: list[bool] = []

    def forward(_tokens: object) -> None:
        collects.append(gc.isenabled())
        cuda.launch(1e-3)

    cuda_events.GraphTimer(forward, torch.zeros(1))
    assert collects == [True] * 4 + [False]
    assert gc.isenabled()


def test_processes_that_wait_are_refused(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    with pytest.raises(Unmeasured, match="CUDA_LAUNCH_BLOCKING is set"):
        cuda_events.DeviceTimer(lambda _tokens: cuda.launch(1e-3), torch.zeros(1))


def test_the_devices_own_state_is_read_once_it_is_used(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_settings.read()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    cuda.current, cuda.sync_mode = "side", 2
    changed = process_settings.changed(before)
    assert all(what in changed for what in ("current GPU from 0 to 1", "current stream", "waits from 0 to 2"))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    unused = process_settings.read()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert process_settings.changed(unused) == ""


def test_a_record_says_what_a_gpus_libraries_were_set_to(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    del cuda
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    for name in process_settings.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("TORCH_CUDNN_SDPA_AVOID_RECOMPILE", "1")
    said = environment_of(case().grid_point)
    assert (said.device, said.cudnn, said.fp32_precision) == ("Fake H100", 91900, "ieee")
    assert said.attention == ("flash", "mem_efficient", "math", "cudnn")
    assert said.variables == {"NVIDIA_TF32_OVERRIDE": "0", "TORCH_CUDNN_SDPA_AVOID_RECOMPILE": "1"}
    cpu = environment_of(case().grid_point.model_copy(update={"device": "cpu"}))
    assert (cpu.device, cpu.cudnn, cpu.attention, cpu.fp32_precision, cpu.variables) == (None,) * 5
