"""Builds outcomes: the value of a metric of a case, or the reason why there is none."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.harness.domain.case import Case, Made
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.records import Failure, Missing, Outcome
from modbench.harness.machine.process.graceful_stop import end_if_lost
from modbench.harness.registry import user_code

# A user's model may raise anything, including SystemExit; an interrupt must end the run.
SURVIVABLE: tuple[type[BaseException], ...] = (Exception, SystemExit)

T = TypeVar("T")
NOTHING = Notes()


def attempt(action: Callable[[], T]) -> T | Missing:
    """Run the action and return its result, or why it is missing if it raises: an exception fails one cell only.

    Raises:
        DeviceLost: if it broke the device for all others.
    """
    try:
        return action()
    except SURVIVABLE as error:
        end_if_lost(error)
        found = missing_after(error)
        release(error)
        return found


def release(error: BaseException) -> None:
    """Let go of what the frames of an exception hold, such as the tensors of the step that did not fit."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen.__traceback__ = None  # a cleared frame still holds its function, and so what that closes over
        seen = seen.__cause__ or seen.__context__
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()  # modules and their hooks refer to each other
        torch.cuda.empty_cache()


# Words of torch, its CPU allocator, cuBLAS and cuDNN for a lack of memory.
NO_ROOM = ("out of memory", "can't allocate memory", "alloc_failed", "allocation_failed")


def missing_after(error: BaseException) -> Missing:
    """Status, kind and reason of an exception; its traceback goes to the job's log."""
    if isinstance(error, Unmeasured):
        return Missing(status="skipped", reason=str(error))
    traceback.print_exception(error, file=sys.stderr)
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = text[:300] + "…"
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    where = user_code.where_in(error.__traceback__)
    return Missing(status="failed", kind=_kind(error, text), reason=f"{said} ({where})" if where else said)


def _kind(error: BaseException, text: str) -> Failure:
    torch = sys.modules.get("torch")
    no_room = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    if isinstance(error, no_room) or any(words in text.lower() for words in NO_ROOM):
        return "oom"
    return "numerics" if isinstance(error, NumericsError) else "error"


def measured(case: Case, metric: AnyMetric, samples: dict[str, list[float]], notes: Notes = NOTHING) -> Outcome:
    """The outcome of a metric that was measured."""
    return Outcome(case=case.id, metric=metric.key, unit=metric.unit, status="ok", samples=samples, notes=notes)


def single(case: Case, metric: AnyMetric, value: float | Missing, notes: Notes = NOTHING) -> Outcome:
    """The outcome of a metric that has one value, or the reason why there is none: a user's metric may return anything."""
    if isinstance(value, Missing):
        return missing(case, metric, value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last from a tensor of several values
        reason = f"{metric.key} returned a value of type {type(value).__name__}, which is not one number"
        return missing(case, metric, Missing(status="failed", kind="error", reason=reason))
    return measured(case, metric, {"value": [number]}, notes)


def missing(case: Case, metric: AnyMetric | Made, why: Missing, notes: Notes = NOTHING) -> Outcome:
    """The outcome of a metric that was not measured, with its reason."""
    return Outcome(
        case=case.id,
        metric=metric.key,
        unit=metric.unit,
        status=why.status,
        kind=why.kind,
        reason=why.reason,
        notes=notes,
    )
