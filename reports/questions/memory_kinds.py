"""Bytes of one arm by kind: what is known of a peak, measured and forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modbench.harness.core.case import ELEMENT_BYTES, Case
from modbench.harness.results.notes.memory import MemoryNotes
from modbench.reports.model import Estimate, Sentence
from modbench.reports.tables.load import Loaded

PEAK, CACHE = "memory/peak_allocated", "memory/kv_cache"
PARAMETERS, OPTIMIZER, ACTIVATIONS, KEYS = "parameters", "optimizer", "activations", "keys and values"
# What a peak holds beyond the kinds that are known: gradients that already exist, and what operators need for a moment.
REST, MORE_REST, MOST_REST = "gradients, workspace", "activations, gradients, workspace", "everything else"
# A measured value this close to its forecast is called equal to it.
AS_FORECAST = 0.01


@dataclass(frozen=True)
class Bar:
    """Bytes by kind, in the order in which they are drawn.

    Attributes:
        case: the arm.
        measured: kind to bytes; they add up to what was measured.
        forecast: the same for the forecast; empty where there is none.
    """

    case: Case
    measured: dict[str, float]
    forecast: dict[str, float]

    @property
    def total(self) -> float:
        """Bytes that were measured."""
        return sum(self.measured.values())

    @property
    def off(self) -> Estimate | None:
        """By how much the measured bytes exceed the forecast, as a share of it; None where there is no forecast."""
        if not self.forecast:
            return None
        return Estimate(self.total / sum(self.forecast.values()) - 1, kind="change")

    @property
    def as_forecast(self) -> bool:
        """Whether the measured bytes are about those that were forecast."""
        return self.off is not None and abs(self.off.value or 0.0) <= AS_FORECAST

    @property
    def against_forecast(self) -> Sentence:
        """The difference in words."""
        if self.off is None:
            return Sentence("no forecast")
        if self.as_forecast:
            return Sentence("as forecast")
        over, by = (self.off.value or 0.0) > 0, round(abs(self.off.value or 0.0), 2)
        return Sentence(f"{{by}} {'over' if over else 'under'} forecast", by=Estimate(by, kind="share"))


def of_training(loaded: Loaded, arm: str, seq_len: int) -> Bar | None:
    """Return the peak of a training step by kind; None if it was not measured."""
    row = loaded.case(arm, PEAK, seq_len)
    if row is None or row.status != "ok" or not row.value:
        return None
    case = _case(loaded, row.case_id)
    kinds = {
        PARAMETERS: _parameters(loaded, case, seq_len),
        OPTIMIZER: _optimizer(loaded, case, seq_len),
        ACTIVATIONS: loaded.value(arm, "memory/activations", seq_len),
    }
    expected = kinds | {ACTIVATIONS: _forecast(loaded, case, "memory/activations")}
    return Bar(case, stacked(float(row.value), kinds), stacked(_forecast(loaded, case, PEAK), expected))


def of_cache(loaded: Loaded, row: Any) -> Bar:  # noqa: ANN401  # a row of `cases.csv` as a named tuple
    """Return the bytes of a cache of keys and values."""
    case = _case(loaded, row.case_id)
    forecast = _forecast(loaded, case, CACHE)
    return Bar(case, {KEYS: float(row.value)}, {KEYS: forecast} if forecast else {})


def _case(loaded: Loaded, case_id: object) -> Case:
    return next(case for case in loaded.run.plan.cases if case.id == case_id)


def _parameters(loaded: Loaded, case: Case, seq_len: int) -> float | None:
    measured = loaded.value(case.arm, "memory/parameters", seq_len)
    counted = loaded.tables.counted(case).params
    return measured or (counted * ELEMENT_BYTES[case.place.dtype] if counted else None)


def _optimizer(loaded: Loaded, case: Case, seq_len: int) -> float | None:
    """AdamW keeps two moments of every parameter; of a user's model some may be frozen."""
    measured, parameters = loaded.value(case.arm, "memory/optimizer", seq_len), _parameters(loaded, case, seq_len)
    return measured or (2 * parameters if parameters and not case.own else None)


def _forecast(loaded: Loaded, case: Case, metric: str) -> float | None:
    notes = loaded.tables.cell(case.id, metric).notes(MemoryNotes)
    return next((each.forecast for each in notes if each.forecast), None)


def stacked(total: float | None, kinds: dict[str, float | None]) -> dict[str, float]:
    """Divide a total into the kinds that are known and the rest; undivided if they exceed it, empty if it is not known."""
    if not total:
        return {}
    known = {kind: number for kind, number in kinds.items() if number}
    rest = REST if ACTIVATIONS in known else MORE_REST if OPTIMIZER in known else MOST_REST
    left = total - sum(known.values())
    return {**known, rest: left} if left >= 0 else {MOST_REST: total}
