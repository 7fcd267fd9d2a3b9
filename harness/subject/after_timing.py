"""The check of a model that was timed, in the same process, with calls exactly as they were timed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from modbench.harness.core.errors import in_short
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Dtype
from modbench.harness.domain.records import Missing
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
COMPUTED = "whether the timed calls were computed"

T = TypeVar("T")

# Why this process does not run the guards: they ran before, on the same code.
_left_out: str | None = None
# What a module may hold beside weights and buffers and be set anew by a call, such as a capacity or the number of a step.
PLAIN = (bool, int, float, str, type(None))


def leave_out(why: str) -> None:
    """Let this process time users' models without the guards; its records say why as `unchecked`."""
    global _left_out  # noqa: PLW0603  # set once, by what starts the process
    _left_out = why


def why_unseen(*, compiled: bool, timer: str = "") -> str | None:
    """Why a counter does not see what was timed, as `unchecked` of `TimeNotes`; None: it does."""
    if _left_out is not None:
        return _left_out
    if not compiled and timer not in UNSEEN:
        return None
    how = "compiled code" if compiled else f"a call timed as {timer!r}"
    return f"{COMPUTED}: {how} is not seen by a counter"


@dataclass(frozen=True)
class TimedModel:
    """A model that was timed, with all that is known of it.

    Attributes:
        module: the model; in training its weights change.
        call: the call that was timed, a function of a batch.
        batches: the tensors that it was timed on: of a language model integers [B, T].
        vocab_size: fresh tokens are below it.
        dtype: the number format that it should compute in; None: no case says so.
        trained_on: batches on which training mode is compared with evaluation mode; empty unless the call was a training step.
        rebuilt: makes the counter of the same call of a model built anew; None: in training, or where nothing can build it.
        claims_checked: whether a count, before the timing, compared what it claims to skip with what it computes.
        run_guard: calls a guard; returns the reason if it raises.
    """

    module: nn.Module
    call: Callable[[Tensor], object]
    batches: Sequence[Tensor]
    vocab_size: int
    dtype: Dtype | None = None
    trained_on: Sequence[Tensor] = ()
    rebuilt: Callable[[], output_caching_guard.Flops] | None = None
    claims_checked: bool = False
    run_guard: Callable[[Callable[[], Any]], Any] = attempt

    @classmethod
    def of_case(
        cls,
        subject: Subject,
        call: Callable[[Tensor], object],
        measure: Callable[[Subject], Callable[[Tensor], object]],
        batches: Sequence[Tensor],
        *,
        trains: bool,
        launch: int,
    ) -> TimedModel:
        """The model of a case, which a run has counted and then timed.

        Args:
            subject: the model.
            call: the call that was timed.
            measure: what made it of the subject.
            batches: the tensors that it was timed on.
            trains: whether the call was a training step.
            launch: number of the launch, from 0.
        """
        if launch:
            subject.steps = min(subject.steps, COUNTED_STEPS)
        return cls(
            subject.module,
            call,
            batches,
            subject.case.config.vocab_size,
            dtype=subject.case.place.dtype,
            trained_on=batches[: AGAIN if launch else COMPARED] if trains else (),
            rebuilt=None if trains else partial(_rebuilt, subject, measure),
            claims_checked=True,
        )

    @classmethod
    def in_memory(cls, call: Callable[[Tensor], object], timed: Tensor, language_model: nn.Module | None) -> TimedModel:
        """A model that the user holds in memory.

        Args:
            call: the call that was timed, a function of a tensor of its inputs.
            timed: the tensor that it was timed on.
            language_model: the module, in evaluation mode, whose only input is tokens; None: it is none.
        """
        largest = 0 if timed.is_floating_point() else int(timed.max())
        checked, module = language_model is None, language_model or nn.Module()
        return cls(module, call, [timed], largest + 1, claims_checked=checked, run_guard=_or_reason_in_short)


@dataclass(frozen=True)
class Findings:
    """What the guards found.

    Attributes:
        reused: evidence that a timed call returned an earlier answer.
        masked: what a module computed and claims to skip, in words.
        other_precision: evidence that products were computed in a narrower number format.
        train_forward_share: FLOPs of forward passes in training mode, as a share of those in evaluation mode.
        unchecked: what could not be checked, with the reason.
    """

    reused: str | None = None
    masked: str | None = None
    other_precision: str | None = None
    train_forward_share: float | None = None
    unchecked: Mapping[str, str] = field(default_factory=dict)

    def notes(self) -> dict[str, Any]:
        """As fields of `TimeNotes`, from which the labels of a case follow."""
        return {
            "reused": self.reused,
            "other_precision": self.other_precision,
            "train_forward_share": self.train_forward_share,
            "unchecked": "; ".join(f"{what}: {reason}" for what, reason in self.unchecked.items()) or None,
        }

    def labels(self) -> dict[str, str]:
        """As labels of a row, for a model that is no case of a run."""
        found = {
            Label.REUSES_OUTPUT: self.reused,
            Label.MASKS_COMPUTE: self.masked,
            Label.UNCHECKED: "; ".join(dict.fromkeys(self.unchecked.values())),
        }
        return {str(label): said for label, said in found.items() if said}


def check(timed: TimedModel) -> Findings:
    """Check by further calls that a model that was timed computes every call, and what its case or module claims.

    Both ways to time a model on inputs end here: `run`, whose case says how to build the model anew, and `mb.compare`. The pytest
    plug-in times callables without inputs, so there is nothing to call them on again; `convert` times nothing.
    """
    precision = Precision(timed.dtype) if timed.dtype else None
    unchecked: dict[str, str] = {}

    def result(question: str, guard: Callable[[], T]) -> T | None:
        found = timed.run_guard(guard)
        if isinstance(found, Missing):
            unchecked[question] = str(found.reason)
            return None
        return cast("T", found)

    reused = result(COMPUTED, partial(_reused, timed, precision or contextlib.nullcontext()))
    share = None
    if timed.trained_on:
        guard = partial(training.forward_share, timed.module, timed.trained_on)
        share = result("whether training mode computes less", guard)
    masked = None if timed.claims_checked else result("whether it skips what it claims", partial(_masked, timed))
    return Findings(reused, masked, precision.found() if precision else None, share, unchecked)


def _reused(timed: TimedModel, within: AbstractContextManager[object]) -> str | None:
    """What `output_caching_guard.kept` finds in the timed call.

    Each training step starts from the state in which the timing ended: that a gate decides otherwise after a step says nothing
    about what is kept.
    """
    first = ModuleState(timed.module).put_back if timed.trained_on else (lambda: None)
    flops = output_caching_guard.counted(timed.call, within, first)
    return output_caching_guard.kept(flops, timed.batches, timed.vocab_size, timed.rebuilt)


def _masked(timed: TimedModel) -> str | None:
    """What a module of it computed and claims to skip."""
    claims = skip_claims.claims(timed.module, timed.batches[0].clone())
    return next((claim.said for claim in claims if claim.masked), None)


def _rebuilt(subject: Subject, measure: Callable[[Subject], Callable[[Tensor], object]]) -> output_caching_guard.Flops:
    """Counts the same calls of the case's model as it was built, with the weights of the one that was timed."""
    fresh = Subject(subject.case, subject.seed, clock=subject.clock)
    fresh.steps = subject.steps
    fresh.module.load_state_dict(subject.module.state_dict(), strict=False)
    fresh.module.eval()
    return output_caching_guard.counted(measure(fresh), contextlib.nullcontext())


def _or_reason_in_short(guard: Callable[[], T]) -> T | Missing:
    """As `attempt`, in a user's process: no traceback is printed, and whatever is no error ends it."""
    try:
        return guard()
    except Exception as error:  # noqa: BLE001  # its timed calls raised nothing: a guard asks more of it
        return Missing(status="failed", kind="error", reason=f"{type(error).__name__}: {in_short(error)}")


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
