"""Training on a GPU with a virtual clock: a step lasts until the device has done it, and waiting for it is training."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from cases import case_of
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml
from torch import Tensor, nn

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.contracts import Text
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.machine.process.torchrun import Ranks
from modbench.harness.planning.text.tokens import encode
from modbench.harness.training import batches, checkpoint, parallel, trainer
from modbench.harness.training.batches import Batch, Windows

RUN = TrainRun(seq_len=16, batch_size=4, steps=30, lr=5e-3, val_tokens=64, checkpoint_s=1e9)
TEXT = Text("t", b"".join(b"%d sheep jump over %d fences. " % (i, i) for i in range(300)), b"two goats. " * 20, "x")
# Seconds of the device for each part of a step, and of the host to launch it.
FORWARD, BACKWARD, OPTIMIZER, PROCESS = 0.3, 0.6, 0.1, 0.01
STEP = FORWARD + BACKWARD + OPTIMIZER


def subject() -> Subject:
    shape = {"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 16}
    return Subject(case_of("dense", shape, batch_size=4, device="cuda"), 0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml())
    made = FakeCuda().install(monkeypatch)
    clock = types.SimpleNamespace(perf_counter=lambda: made.host)
    monkeypatch.setattr(trainer, "clocks", clock)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    return made


@pytest.fixture
def training(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Callable[..., trainer.Trainer]:
    """Makes a trainer whose parts take the times above on the device."""

    def loss(made: Subject, *_: Any, **__: Any) -> tuple[Tensor, float]:
        cuda.launch(FORWARD, PROCESS)
        value = torch.stack([each.sum() for each in made.module.parameters()]).sum() * 1e-6
        value.register_hook(lambda _: cuda.launch(BACKWARD, PROCESS))
        return value, 0.0

    monkeypatch.setattr(Subject, "loss", loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: cuda.launch(OPTIMIZER, PROCESS))

    def make(run: TrainRun = RUN, **named: Any) -> trainer.Trainer:
        return trainer.Trainer(subject(), Windows(encode(TEXT, "bytes", 256), run, 0), run, **named)

    return make


def test_a_step_lasts_until_the_device_has_done_it(training: Any, cuda: FakeCuda) -> None:
    """The host launches 20 steps in the time of one, and reads their losses then."""
    made, start = training(), cuda.host
    made.train()
    assert made.curve["wall_s"] == pytest.approx([STEP * (i + 1) for i in range(30)], rel=0.02)
    assert made.curve["wall_s"][-1] == pytest.approx(cuda.host - start)
    assert made.spent.whole == pytest.approx(cuda.host - start)


def test_waiting_for_the_device_is_training_and_what_follows_is_not(
    training: Any, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress, looks and checkpoints read losses, which waits for the steps; they themselves take long here."""
    told: list[trainer.Progress] = []

    def tell(progress: trainer.Progress) -> None:
        told.append(progress)
        cuda.sleep(5.0)

    monkeypatch.setattr(checkpoint, "save", lambda *_, **__: cuda.sleep(7.0))
    monkeypatch.setattr(checkpoint, "generators", lambda _device: {})
    made = training(
        RUN.model_copy(update={"looks": 3, "checkpoint_s": 9.0}),
        look=lambda _step: cuda.sleep(3.0),
        on_progress=tell,
        keep=types.SimpleNamespace(exists=lambda: False),
    )
    made.train()
    assert made.curve["wall_s"] == pytest.approx([STEP * (i + 1) for i in range(30)], rel=0.02)
    assert made.spent.whole == pytest.approx(30 * STEP, rel=0.02)
    assert told[-1].tokens_per_s == pytest.approx(4 * 16 / STEP, rel=0.02)


def test_parts_of_a_step_are_the_devices(training: Any) -> None:
    """Their processes take 10 ms each; and what is in no part is what the device waited for between them."""
    made = training(RUN.model_copy(update={"accumulate": 2}))
    made.train()
    parts = {"forward": 60 * FORWARD, "backward": 60 * BACKWARD, "optimizer": 30 * OPTIMIZER}
    assert made.spent.seconds == pytest.approx(parts, rel=0.01)
    assert made.spent.outside == pytest.approx(0, abs=0.05)


def test_a_part_that_fails_has_no_time(cuda: FakeCuda) -> None:
    del cuda
    found = trainer.Spent(on_gpu=True)
    with pytest.raises(ZeroDivisionError), found.on("forward"):
        raise ZeroDivisionError
    found.settle()
    assert sum(found.seconds.values()) == 0


def test_a_batch_goes_to_a_gpu_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pageable memory would make the host wait for everything that the device has still to do."""
    asked: list[Any] = []

    def pinned(tensor: Tensor) -> Tensor:
        asked.append("pinned")
        return tensor

    def to(tensor: Tensor, device: str, **how: Any) -> Tensor:
        asked.append((device, how))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "to", to)
    tokens_BT = torch.zeros(2, 3, dtype=torch.int64)
    assert batches.Batch(tokens_BT, tokens_BT).to("cuda").tokens_BT is tokens_BT
    assert asked == ["pinned", ("cuda", {"non_blocking": True})] * 2
    asked.clear()
    Batch(tokens_BT, tokens_BT).to("cpu")
    assert asked == [("cpu", {})] * 2


class Wrapper(nn.Module):
    """Stands for DistributedDataParallel."""

    def __init__(self, module: nn.Module, ids: list[int] | None, **named: Any) -> None:
        super().__init__()
        self.module, self.ids, self.named = module, ids, named
        self.log: list[str] = []

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        self.log.append("alone")
        yield
        self.log.append("end")

    def forward(self, *arguments: Any) -> Any:
        return self.module(*arguments)


@pytest.mark.slow
def test_ranks_average_gradients_once_for_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", Wrapper)
    shared = Wrapper(nn.Linear(2, 2), None)
    models: tuple[Any, ...] = (shared, torch.compile(shared))
    for model in models:
        for last in (False, False, True):
            with parallel.piece(model, last=last):
                shared.log.append("piece")
        assert shared.log == ["alone", "piece", "end"] * 2 + ["piece"]
        shared.log.clear()
    with parallel.piece(nn.Linear(2, 2), last=False):
        pass


def test_the_pieces_of_a_step_are_told_apart(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lasts: list[bool] = []

    def piece(_model: object, *, last: bool) -> Any:
        lasts.append(last)
        return contextlib.nullcontext()

    monkeypatch.setattr(trainer, "piece", piece)
    training(RUN.model_copy(update={"accumulate": 4, "steps": 2})).train()
    assert lasts == [False, False, False, True] * 2


@pytest.mark.parametrize("same", [True, False])
def test_tables_are_not_sent_before_every_pass(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", Wrapper)
    made = parallel.share(nn.Linear(2, 2), Ranks(1, 2, 1), "ddp", "cuda", same_buffers=same)
    assert isinstance(made, Wrapper)
    assert (made.ids, made.named) == ([1], {"broadcast_buffers": not same})


def test_a_rank_tells_nccl_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda name, **named: asked.append((name, named)))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with parallel.together(Ranks(3, 4, 3), "cuda"):
        assert asked == [3, ("nccl", {"device_id": torch.device("cuda", 3)})]
