"""The training loop: AdamW, warm-up and cosine, clipping, accumulation, checkpoints, exact resume, and a breakdown of its time.

The same seed gives every variant the same batches in the same order and, where shapes agree, the same initial weights. A run that
is killed and resumed has the same losses to the bit on a CPU: all that a step depends on is in the checkpoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.harness.core.train_plan import TrainRun, learning_rate
from modbench.harness.core.units import human_duration
from modbench.harness.machine.process import clocks, graceful_stop
from modbench.harness.machine.process.torchrun import ALONE, Ranks
from modbench.harness.registry import user_code
from modbench.harness.training import checkpoint
from modbench.harness.training.parallel import piece, share

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.training.batches import Batch, Batches

# On a GPU reading a loss waits for the device: so many are read at a time.
CUDA_LOSSES_AT_ONCE = 20
PROGRESS_S = 1.0
# Steps between checks of several ranks whether a checkpoint is due: each check waits for all ranks.
AGREE_EVERY = 10
COLUMNS = ("step", "tokens", "loss", "wall_s")


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        step: steps made.
        steps: all steps of the run.
        loss: of the last batch, in nats per token.
        tokens_per_s: since the run began or was resumed.
        left_s: seconds left at that rate.
    """

    step: int
    steps: int
    loss: float
    tokens_per_s: float
    left_s: float

    def __str__(self) -> str:
        """One line: `step 120/400, loss 2.314, 9.2k tokens/s, 1 min 05 s left`."""
        pace = f"{self.tokens_per_s / 1000:.1f}k tokens/s"
        return f"step {self.step}/{self.steps}, loss {self.loss:.3f}, {pace}, {human_duration(self.left_s)} left"


class Trainer:
    """One training run.

    Args:
        subject: the model, its weights drawn; float32.
        batches: the training data.
        run: steps, rate and the like.
        ranks: the processes that share the run.
        keep: file of the checkpoint; None: no checkpoint.
        fingerprint: identifies the run: a checkpoint of another run is ignored.
        on_progress: called with the progress about once a second.
        look: called with the number of steps made, `run.looks` times spread over the run and after the last step.
        carried: what looks collect, as lists of numbers and tensors; saved in checkpoints.
    """

    def __init__(
        self,
        subject: Subject,
        batches: Batches,
        run: TrainRun,
        *,
        ranks: Ranks = ALONE,
        keep: Path | None = None,
        fingerprint: str = "",
        on_progress: Callable[[Progress], None] | None = None,
        look: Callable[[int], None] | None = None,
        carried: dict[str, list[Any]] | None = None,
    ) -> None:
        ranks.check(run)
        self.subject, self.batches, self.run, self.ranks = subject, batches, run, ranks
        self.keep, self.fingerprint, self.on_progress, self.look = keep, fingerprint, on_progress, look
        self.carried = {} if carried is None else carried
        self.device = subject.case.grid_point.device
        self.autocast = torch.autocast(self.device, torch.bfloat16, enabled=subject.case.grid_point.dtype == "bf16")
        self.model = subject.model
        if ranks.world > 1:
            if run.parallel == "fsdp" and subject.parts.has("aux_loss"):
                raise Unmeasured(
                    "FSDP gives aux_loss() a part of the weights: set train.parallel=ddp, or train on one rank"
                )
            same = not subject.case.is_user_model
            self.model = share(subject.module, ranks, run.parallel, self.device, same_buffers=same)
            if subject.case.grid_point.compile:
                self.model = cast("torch.nn.Module", torch.compile(self.model))
        self.optimizer = subject.optimizer
        self.curve: dict[str, list[float]] = {name: [] for name in COLUMNS}
        self.on_gpu = self.device == "cuda"
        self.spent, self.step, self.resumed_at = Spent(on_gpu=self.on_gpu), 0, 0
        # Losses that have not been read, and on a GPU the ends of their steps.
        self._unread: list[torch.Tensor] = []
        self._ends: list[torch.cuda.Event] = []
        self._start = self._before_s = self._apart_s = 0.0
        self.losses_at_once = CUDA_LOSSES_AT_ONCE if self.on_gpu else 1
        self._looks = {round((i + 1) * run.steps / run.looks) for i in range(run.looks)} if run.looks else set()

    def train(self) -> None:
        """Make all steps, or those that remain after a checkpoint.

        Raises:
            NumericsError: as soon as a loss is known not to be finite; names the step.
            Stopped: if the process was asked to end at a checkpoint, which is saved.
        """
        keep_freed_memory()
        self._resume()
        saved = reported = self._start = clocks.perf_counter()
        self._before_s, self._apart_s = self.curve["wall_s"][-1] if self.step else 0.0, 0.0
        self.resumed_at = self.step
        while self.step < self.run.steps:
            began = clocks.perf_counter()
            self._make_step()
            now = clocks.perf_counter()
            last = self.step == self.run.steps
            looks = self.look is not None and self.step in self._looks
            stops, due = graceful_stop.stop_requested(), now - saved >= self.run.checkpoint_s
            saves, stops = self._agreed(due or stops, stops) if self.keep is not None and not last else (False, False)
            tells = self.on_progress is not None and (now - reported >= PROGRESS_S or last)
            # What follows would wait for the device, which may still be training: that wait belongs to the step.
            # Several ranks read their losses at the same step, so that all stop at the same loss: not for one rank's progress.
            if looks or saves or last or (tells and self.ranks.world == 1):
                self._read_losses()
            elif tells and self.on_gpu:
                torch.cuda.synchronize()
            ended = clocks.perf_counter()
            self.spent.whole += ended - began
            if self.look is not None and looks:
                self.look(self.step)
                self.subject.module.train()
            if saves:
                self._save()
                if stops:
                    if (
                        self.ranks.world > 1
                    ):  # torchrun ends all ranks with the first that ends: the file must be whole by then
                        torch.distributed.barrier()
                    raise graceful_stop.Stopped
                saved = clocks.perf_counter()
            if self.on_progress is not None and tells:
                self.on_progress(self._progress(ended - self._start - self._apart_s))
                reported = ended
            self._apart_s += clocks.perf_counter() - ended

    def _trained_s(self) -> float:
        """Seconds of training so far, those before a resumption included; looks and checkpoints are not training."""
        return self._before_s + clocks.perf_counter() - self._start - self._apart_s

    def _make_step(self) -> None:
        run, step, subject = self.run, self.step, self.subject
        for group in self.optimizer.param_groups:
            group["lr"], group["weight_decay"] = learning_rate(step, run.steps, run.lr), run.weight_decay
        if subject.parts.has("set_progress"):
            subject.language_model.set_progress(step / run.steps)
        whole = self.batches.train(step)
        targets = whole.number_of_targets
        mine = whole if self.ranks.world == 1 else whole.rows(self.ranks.rank, self.ranks.world)
        total: torch.Tensor | None = None
        self.optimizer.zero_grad(set_to_none=True)
        for i in range(run.accumulate):
            batch = mine if run.accumulate == 1 else mine.rows(i, run.accumulate)
            # A mean over this piece's targets, weighted so that all pieces add up to the mean over the whole batch. Counted
            # before the copy to a device, since reading from there would wait.
            weight, batch = batch.number_of_targets * self.ranks.world / max(1, targets), batch.to(self.device)
            with piece(self.model, last=i == run.accumulate - 1):
                with self.spent.on("forward"), self.autocast:
                    loss, auxiliary = self._loss(batch)
                    loss = loss * weight
                with self.spent.on("backward"):
                    (loss + auxiliary / run.accumulate).backward()
            part = loss.detach().float()
            total = part if total is None else total + part
        with self.spent.on("optimizer"):
            torch.nn.utils.clip_grad_norm_(subject.module.parameters(), run.clip)
            self.optimizer.step()
            subject.after_step()
        assert total is not None, "a batch has at least one piece"
        if self.ranks.world > 1:
            torch.distributed.all_reduce(total)
            total /= self.ranks.world
        self.step += 1
        for name, value in zip(
            COLUMNS, (step, self.step * run.tokens_per_step, math.nan, self._trained_s()), strict=True
        ):
            self.curve[name].append(value)
        self._unread.append(total)
        if self.on_gpu:
            self._ends.append(event())
        if len(self._unread) >= self.losses_at_once:
            self._read_losses()

    def _loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | float]:
        return self.subject.loss(
            batch.tokens_BT,
            batch.targets_BT,
            lengths_B=batch.lengths_B,
            prompt_B=batch.prompt_B,
            model=self.model,
            told=True,
        )

    def _read_losses(self) -> None:
        """Read the losses that have not been read yet; on a GPU also when their steps ended, which the host did not see.

        Raises:
            NumericsError: at the first that is not finite.
        """
        if not self._unread:
            return
        first = self.step - len(self._unread)
        if self.on_gpu:
            torch.cuda.synchronize()
            now = self._trained_s()
            for step, end in enumerate(self._ends, first):
                self.curve["wall_s"][step] = now - end.elapsed_time(self._ends[-1]) / 1e3
            self._ends.clear()
            self.spent.settle()
        values = [float(value) for value in torch.stack(self._unread).tolist()]
        self._unread.clear()
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                raise NumericsError(
                    f"training loss {value} at step {step} of {self.run.steps}, learning rate {self.run.lr:.3g}"
                )
            self.curve["loss"][step] = value

    def _agreed(self, due: bool, stops: bool) -> tuple[bool, bool]:  # noqa: FBT001  # what the first rank knows
        """Whether a checkpoint is due and whether training ends there, as the first rank says: all must save at the same step."""
        if self.ranks.world == 1:
            return due, stops
        if self.step % AGREE_EVERY:
            return False, False
        word = torch.tensor([float(due), float(stops)], device=self.device)
        torch.distributed.broadcast(word, 0)
        agreed = word.tolist()
        return bool(agreed[0]), bool(agreed[1])

    def _progress(self, elapsed: float) -> Progress:
        made = self.step - self.resumed_at
        left = elapsed / made * (self.run.steps - self.step)
        known = self.step - len(self._unread)
        loss = self.curve["loss"][known - 1] if known else math.nan
        return Progress(self.step, self.run.steps, loss, made * self.run.tokens_per_step / elapsed, left)

    def _save(self) -> None:
        """Write the checkpoint, when all losses have been read: every rank takes part, the first one writes."""
        if self.ranks.world == 1:
            model, optimizer = self.subject.module.state_dict(), self.optimizer.state_dict()
        else:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            model, optimizer = get_state_dict(self.model, self.optimizer, options=options)
        if self.keep is None or not self.ranks.first:
            return
        body = {
            "format": checkpoint.FORMAT,
            "fingerprint": self.fingerprint,
            "code": user_code.ran(),
            "step": self.step,
            "model": dict(model),
            "optimizer": dict(optimizer),
            "generators": checkpoint.generators(self.device),
            "curve": self.curve,
            "seconds": self.spent.seconds,
            "whole": self.spent.whole,
            "carried": self.carried,
        }
        checkpoint.save(self.keep, body, sealed=True)

    def _resume(self) -> None:
        """Continue from the checkpoint, if there is one of this run."""
        body = checkpoint.load(self.keep, self.fingerprint) if self.keep is not None and self.keep.exists() else None
        if body is None or not checkpoint.resumable(body, self.subject.module.state_dict(), self.run, self.carried):
            return
        if self.ranks.world == 1:
            self.subject.module.load_state_dict(body["model"])
            self.optimizer.load_state_dict(body["optimizer"])
        else:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

            set_state_dict(
                self.model,
                self.optimizer,
                model_state_dict=body["model"],
                optim_state_dict=body["optimizer"],
                options=StateDictOptions(full_state_dict=True),
            )
        checkpoint.restore_generators(body["generators"])
        self.step, self.curve = body["step"], body["curve"]
        self.spent.seconds, self.spent.whole = body["seconds"], body["whole"]
        for name, values in body["carried"].items():
            self.carried[name][:] = values


@dataclass
class Spent:
    """Seconds of training by part; `outside` is the remainder: data, logging, bookkeeping.

    On a GPU calls return before their work is done, so a part lasts from the event before it to the event after it: the device's
    work, and its waits for the host inside. It is known only after `settle`.

    Attributes:
        on_gpu: whether parts are timed by events.
        seconds: by part.
        whole: of all steps.
    """

    on_gpu: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("forward", "backward", "optimizer"), 0.0))
    whole: float = 0.0
    _open: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the time of what runs inside to `what`."""
        if self.on_gpu:
            start = event()
            yield
            self._open.append((what, start, event()))
            return
        began = clocks.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += clocks.perf_counter() - began

    def settle(self) -> None:
        """Read the events, all of which must have happened."""
        for what, start, end in self._open:
            self.seconds[what] += start.elapsed_time(end) / 1e3
        self._open.clear()

    @property
    def outside(self) -> float:
        """Seconds of the steps that were neither forward, backward nor optimizer."""
        return self.whole - sum(self.seconds.values())


def event() -> torch.cuda.Event:
    """A moment in the work of the current stream."""
    made = torch.cuda.Event(enable_timing=True)
    made.record()
    return made


# Parameters of glibc's mallopt, and their values in B: the largest thresholds that all versions take.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER_TRIM, LARGEST_IN_HEAP = 2**31 - 1, 32 * 2**20


def keep_freed_memory() -> None:
    """Let malloc keep what is freed until the process ends; nothing happens where it is not glibc's.

    Otherwise it returns the end of its heap after each training step and faults in the same pages in the next: some 1,000 per
    step at width 48.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_IN_HEAP)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)
