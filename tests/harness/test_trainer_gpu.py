"""Training on a GPU with a virtual clock: a step lasts until the device has done it, and waiting for it is training."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import case_of
from fake_cuda import FakeCuda
from torch import Tensor

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.contracts import Text
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.planning.text.tokens import encode
from modbench.harness.training import checkpoint, trainer
from modbench.harness.training.batches import Windows

RUN = TrainRun(seq_len=16, batch_size=4, steps=30, lr=5e-3, val_tokens=64, checkpoint_s=1e9)
TEXT = Text("t", b"".join(b"%d sheep jump over %d fences. " % (i, i) for i in range(300)), b"two goats. " * 20, "x")
# Seconds of the device for each part of a step, and of the host to launch it.
FORWARD, BACKWARD, OPTIMIZER, PROCESS = 0.3, 0.6, 0.1, 0.01
STEP = FORWARD + BACKWARD + OPTIMIZER


@pytest.fixture
def training(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Callable[..., trainer.Trainer]:
    """Makes a trainer whose parts take the times above on the device."""
    monkeypatch.setattr(trainer, "clocks", types.SimpleNamespace(perf_counter=lambda: cuda.host))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)

    def loss(made: Subject, *_: Any, **__: Any) -> tuple[Tensor, float]:
        cuda.launch(FORWARD, PROCESS)
        value = torch.stack([each.sum() for each in made.module.parameters()]).sum() * 1e-6
        value.register_hook(lambda _: cuda.launch(BACKWARD, PROCESS))
        return value, 0.0

    monkeypatch.setattr(Subject, "loss", loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: cuda.launch(OPTIMIZER, PROCESS))
    shape = {"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 16}

    def make(named: dict[str, Any] | None = None, **changes: Any) -> trainer.Trainer:
        run = RUN.model_copy(update=changes)
        subject = Subject(case_of("dense", shape, batch_size=4, device="cuda"), 0)
        return trainer.Trainer(subject, Windows(encode(TEXT, "bytes", 256), run, 0), run, **(named or {}))

    return make


def test_a_step_and_its_parts_last_until_the_device_has_done_them(training: Any, cuda: FakeCuda) -> None:
    """The host launches 20 steps in the time of one, and reads their losses then."""
    made, start = training(accumulate=2), cuda.host
    made.train()
    parts = {"forward": 60 * FORWARD, "backward": 60 * BACKWARD, "optimizer": 30 * OPTIMIZER}
    assert made.spent.seconds == pytest.approx(parts, rel=0.01)
    assert made.spent.outside == pytest.approx(0, abs=0.05)  # what the device waited for between them
    step = sum(parts.values()) / 30
    assert made.curve["wall_s"] == pytest.approx([step * (i + 1) for i in range(30)], rel=0.02)
    assert made.curve["wall_s"][-1] == pytest.approx(cuda.host - start)
    assert made.spent.whole == pytest.approx(cuda.host - start)


def test_waiting_for_the_device_is_training(training: Any, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress, looks and checkpoints read losses, which waits for the steps; they themselves take long here."""
    told: list[trainer.Progress] = []

    def tell(progress: trainer.Progress) -> None:
        told.append(progress)
        cuda.sleep(5.0)

    monkeypatch.setattr(checkpoint, "save", lambda *_, **__: cuda.sleep(7.0))
    monkeypatch.setattr(checkpoint, "generators", lambda _device: {})
    keep = types.SimpleNamespace(exists=lambda: False)
    named = {"look": lambda _step: cuda.sleep(3.0), "on_progress": tell, "keep": keep}
    made = training(named, looks=3, checkpoint_s=9.0)
    made.train()
    assert made.curve["wall_s"] == pytest.approx([STEP * (i + 1) for i in range(30)], rel=0.02)
    assert made.spent.whole == pytest.approx(30 * STEP, rel=0.02)
    assert told[-1].tokens_per_s == pytest.approx(4 * 16 / STEP, rel=0.02)
