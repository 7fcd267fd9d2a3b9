"""What a pass yields: the outcome of each metric of each case, or the reason why there is none."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.harness.results.notes import Notes
from modbench.harness.results.records import Failure, Gap, Outcome

# A user's model may raise anything, SystemExit too; an interrupt is ours.
SURVIVABLE: tuple[type[BaseException], ...] = (Exception, SystemExit)

T = TypeVar("T")
NOTHING = Notes()


def attempt(action: Callable[[], T]) -> T | Gap:
    """The action's result, or the gap that stands in its place: a cell's own exception is one failed cell."""
    try:
        return action()
    except SURVIVABLE as error:
        return gap_of(error)


# What torch, its CPU allocator and cuBLAS say where there is no memory left.
NO_ROOM = ("out of memory", "can't allocate memory", "alloc_failed")


def gap_of(error: BaseException) -> Gap:
    """Status, kind and reason of an exception; its traceback goes to the unit's log."""
    if isinstance(error, Unmeasured):
        return Gap(status="skipped", reason=str(error))
    traceback.print_exception(error, file=sys.stderr)
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = text[:300] + "…"
    name = type(error).__name__
    return Gap(status="failed", kind=_kind(error, text), reason=f"{name}: {text}" if text else name)


def _kind(error: BaseException, text: str) -> Failure:
    if isinstance(error, MemoryError) or any(words in text.lower() for words in NO_ROOM):
        return "oom"
    return "numerics" if isinstance(error, NumericsError) else "error"


def measured(case: Case, metric: AnyMetric, samples: dict[str, list[float]], notes: Notes = NOTHING) -> Outcome:
    """The outcome of a metric that was measured."""
    return Outcome(case=case.id, metric=metric.key, unit=metric.unit, status="ok", samples=samples, notes=notes)


def missing(case: Case, metric: AnyMetric, gap: Gap, notes: Notes = NOTHING) -> Outcome:
    """The outcome of a metric that was not measured, with its reason."""
    return Outcome(
        case=case.id,
        metric=metric.key,
        unit=metric.unit,
        status=gap.status,
        kind=gap.kind,
        reason=gap.reason,
        notes=notes,
    )
