"""Outcomes of metrics, which may be a user's and return anything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import case_of

from modbench.harness.registry import catalogue
from modbench.harness.results.measured_or_missing import single

CASE, METRIC = case_of("dense", {"d_model": 64}), catalogue.metrics()["memory/peak_allocated"]


@pytest.mark.parametrize("value", [3, 3.0, torch.tensor(3), torch.tensor([3.0])])
def test_a_number_is_kept(value: Any) -> None:
    outcome = single(CASE, METRIC, value)
    assert (outcome.status, outcome.samples) == ("ok", {"value": [3.0]})


@pytest.mark.parametrize("value", [None, "three", [3.0], {}, torch.ones(2), 10**400])
def test_what_is_no_number_fails_one_cell_and_names_the_metric_and_the_type(value: Any) -> None:
    outcome = single(CASE, METRIC, value)
    assert (outcome.status, outcome.kind, outcome.samples) == ("failed", "error", {})
    assert outcome.reason is not None
    assert METRIC.key in outcome.reason
    assert type(value).__name__ in outcome.reason
