"""The check of a model after it was timed, in the same process, with calls exactly as they were timed: of a run, or in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from modbench.harness.core.errors import in_short
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Place
from modbench.harness.domain.records import Gap
from modbench.harness.results.outcomes import attempt
from modbench.harness.subject import output_caching_guard, skip_claims, training
from modbench.harness.subject.precision import Precision
from modbench.harness.subject.subject import Subject

# Batches on which training mode is compared with evaluation mode: in the first launch, and in later ones.
COMPARED, AGAIN = 4, 1
# Decode steps that are counted in every launch but the first, which counts all: counting makes a step much slower.
COUNTED_STEPS = 16
# Timers whose call queues kernels behind others, or replays them.
UNSEEN = frozenset({"device", "graph"})

# Why this process does not run the guards: they ran before, on the same code.
_left_out: str | None = None
# What a module may hold beside weights and buffers and be set anew by a call, such as a capacity or the number of a step.
PLAIN = (bool, int, float, str, type(None))


def leave_out(why: str) -> None:
    """Let this process time users' models without the guards; its records say why as `unchecked`."""
    global _left_out  # noqa: PLW0603  # set once, by what starts the process
    _left_out = why


def why_unseen(place: Place, timer: str) -> str | None:
    """Why a counter does not see what was timed, as `unchecked` of `TimeNotes`; None: it does."""
    if _left_out is not None:
        return _left_out
    if not place.compile and timer not in UNSEEN:
        return None
    how = "compiled code" if place.compile else f"a call timed as {timer!r}"
    return f"whether the timed calls were computed: {how} is not seen by a counter"


def check(
    subject: Subject,
    timed: Callable[[Tensor], object],
    made: Callable[[Subject], Callable[[Tensor], object]],
    batches: Sequence[Tensor],
    *,
    trains: bool,
    launch: int,
) -> dict[str, Any]:
    """What the guards found, as fields of `TimeNotes`; a guard that cannot run is named in `unchecked`.

    Args:
        subject: what was timed; in training its weights change.
        timed: the call that was timed.
        made: what made it of the subject.
        batches: the tensors that it was timed on.
        trains: whether the call was a training step.
        launch: number of the launch, from 0.
    """
    precision = Precision(subject.case.place.dtype)
    if launch:
        subject.steps = min(subject.steps, COUNTED_STEPS)
    rebuilt = None if trains else partial(_rebuilt, subject, made)
    kept = attempt(partial(_kept, subject, timed, batches, precision, rebuilt))
    found: dict[str, Any] = {"other_precision": precision.found()}
    gaps = []
    if isinstance(kept, Gap):
        gaps.append(f"whether the timed calls were computed: {kept.reason}")
    else:
        found["reused"] = kept
    if trains:
        share = attempt(partial(training.forward_share, subject.module, batches[: AGAIN if launch else COMPARED]))
        if isinstance(share, Gap):
            gaps.append(f"whether training mode computes less: {share.reason}")
        else:
            found["train_forward_share"] = share
    return found | {"unchecked": "; ".join(gaps) or None}


def _kept(
    subject: Subject,
    timed: Callable[[Tensor], object],
    batches: Sequence[Tensor],
    precision: Precision,
    rebuilt: Callable[[], output_caching_guard.Flops] | None,
) -> str | None:
    """What `output_caching_guard.kept` finds in the timed call.

    Each training step starts from the state in which the timing ended: that a gate decides otherwise after a step says nothing
    about what is kept.
    """
    first = (lambda: None) if rebuilt else ModuleState(subject.module).put_back
    flops = output_caching_guard.counted(timed, precision, first)
    return output_caching_guard.kept(flops, batches, subject.case.config.vocab_size, rebuilt)


def _rebuilt(subject: Subject, made: Callable[[Subject], Callable[[Tensor], object]]) -> output_caching_guard.Flops:
    """Counts the same calls of the case's model as it was built, with the weights of the one that was timed."""
    fresh = Subject(subject.case, subject.seed, clock=subject.clock)
    fresh.steps = subject.steps
    fresh.module.load_state_dict(subject.module.state_dict(), strict=False)
    fresh.module.eval()
    return output_caching_guard.counted(made(fresh), contextlib.nullcontext())


def of_module(model: nn.Module, tokens_BT: Tensor) -> dict[Label, str]:
    """What the guards find of a language model in memory that was timed, by label; calls it some more times.

    Args:
        model: a module in evaluation mode.
        tokens_BT: the tensor that it was timed on: integers [B, T], of which the guards can make another batch.
    """
    flops = output_caching_guard.counted(model, torch.no_grad())
    said: dict[Label, str] = {}
    try:
        kept = output_caching_guard.kept(flops, [tokens_BT], int(tokens_BT.max()) + 1, None)
        masked = [claim for claim in skip_claims.claims(model, tokens_BT.clone()) if claim.masked]
    except Exception as error:  # noqa: BLE001  # its timed calls raised nothing: a guard asks more of it
        return {Label.UNCHECKED: f"{type(error).__name__}: {in_short(error)}"}
    if kept:
        said[Label.REUSES_OUTPUT] = kept
    if masked:
        said[Label.MASKS_COMPUTE] = masked[0].said
    return said


class ModuleState:
    """Weights, buffers, and the plain values and tensors among the attributes of all submodules.

    Gradients are no part of it: a step begins without them. Nor is the optimizer's state: what a step computes does not depend
    on it, and what it made of the weights is put back. Copies lie in the host's memory, as large as the module's tensors.

    Args:
        module: as its steps shall find it.
    """

    def __init__(self, module: nn.Module) -> None:
        copies: dict[int, Tensor] = {}
        self._places: list[tuple[dict[str, Any], str, Any, Tensor | None]] = []
        for holder, name, value in _held(module):
            copy = None
            if isinstance(value, Tensor):
                if id(value) not in copies:  # tied weights are one tensor
                    copies[id(value)] = value.detach().to("cpu", copy=True)
                copy = copies[id(value)]
            self._places.append((holder, name, value, copy))

    def put_back(self) -> None:
        """Make the module what it was, in its own tensors: whatever refers to them sees it."""
        done: set[int] = set()
        with torch.no_grad():
            for holder, name, value, copy in self._places:
                holder[name] = value
                if copy is not None and id(value) not in done:
                    done.add(id(value))
                    value.copy_(copy)


def _held(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Any]]:
    for part in module.modules():
        for holder in (part._parameters, part._buffers, part.__dict__):  # noqa: SLF001  # no public way to set them
            for name, value in holder.items():
                if isinstance(value, PLAIN) or (isinstance(value, Tensor) and _is_own(value)):
                    yield holder, name, value


def _is_own(value: Tensor) -> bool:
    """Whether a call may write into a tensor that a later call reads: not what the last call left, nor a number shown as many."""
    return value.grad_fn is None and not any(
        step == 0 < size - 1 for step, size in zip(value.stride(), value.shape, strict=True)
    )
