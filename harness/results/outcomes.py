"""Builds outcomes: the value of a metric of a case, or the reason why there is none."""

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

# A user's model may raise anything, including SystemExit; an interrupt must end the run.
SURVIVABLE: tuple[type[BaseException], ...] = (Exception, SystemExit)

T = TypeVar("T")
NOTHING = Notes()


def attempt(action: Callable[[], T]) -> T | Gap:
    """Run the action and return its result, or a gap if it raises: an exception fails one cell only."""
    try:
        return action()
    except SURVIVABLE as error:
        return gap_of(error)


# Words of torch, its CPU allocator and cuBLAS for a lack of memory.
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
