"""Closed-form costs of cases, from the model's file."""

from __future__ import annotations

import functools

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import Pairs
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue
from modbench.harness.registry.model_loaders import from_loader


def case_cost(case: Case) -> Cost | None:
    """Closed-form cost of a case; None for a user's model, unless its source knows one."""
    if case.is_user_model:
        return _sourced_cost(case.model, case.options, case.config, case.grid_point.seq_len, case.grid_point.batch_size)
    return closed_form(case.model, case.config, case.grid_point.seq_len, case.grid_point.batch_size)


def case_decode_cost(case: Case, context: int) -> DecodeCost | None:
    """Closed-form cost of decoding after a context; None where it is not known."""
    if case.is_user_model:
        found = from_loader(case.model, case.options)
        return found.decode_cost(case.config, context, case.grid_point.batch_size) if found else None
    decode = catalogue.load("models", case.model).decode_cost
    made: DecodeCost | None = decode(case.config, context, case.grid_point.batch_size) if decode else None
    return made


@functools.lru_cache(maxsize=100_000)
def _sourced_cost(model: str, options: Pairs, config: ModelConfig, seq_len: int, batch_size: int) -> Cost | None:
    found = from_loader(model, options)
    return found.cost(config, seq_len, batch_size) if found else None


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
