"""Closed-form costs of cases, from the model's file."""

from __future__ import annotations

import functools

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost
from modbench.harness.core.errors import UsageError


def case_cost(case: Case) -> Cost | None:
    """Closed-form cost of a case; None for a user's model."""
    return None if case.own else closed_form(case.model, case.config, case.place.seq_len, case.place.batch_size)


@functools.lru_cache(maxsize=100_000)  # a plan asks for each case's many times, and has ten thousand cases
def closed_form(model: str, config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """Closed-form cost of a catalogue model.

    Raises:
        UsageError: for a shape that this model cannot have.
    """
    try:
        cost: Cost = catalogue.load("models", model).cost(config, seq_len, batch_size)
    except ValueError as error:
        raise UsageError(f"model {model!r}: {error}.") from error
    return cost
