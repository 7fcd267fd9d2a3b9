"""Bytes by kind: what is known of a peak, the rest, and the difference from the forecast."""

from __future__ import annotations

import pytest

from modbench.planted_runs import planted_plan
from modbench.reports.sections.memory import Bar, stacked


@pytest.mark.parametrize(
    ("kinds", "parts"),
    [
        (
            {"parameters": 10.0, "optimizer": 20.0, "activations": 30.0},
            {"parameters": 10.0, "optimizer": 20.0, "activations": 30.0, "gradients, workspace": 40.0},
        ),
        (
            {"parameters": 10.0, "optimizer": 20.0, "activations": None},
            {"parameters": 10.0, "optimizer": 20.0, "activations, gradients, workspace": 70.0},
        ),
        ({"parameters": 10.0, "optimizer": None, "activations": None}, {"parameters": 10.0, "everything else": 90.0}),
        # More than the whole: one of them is not what was weighed.
        ({"parameters": 10.0, "optimizer": 200.0, "activations": None}, {"everything else": 100.0}),
    ],
)
def test_kinds_add_up_to_what_was_measured(kinds: dict[str, float | None], parts: dict[str, float]) -> None:
    found = stacked(100.0, kinds)
    assert found == parts
    assert sum(found.values()) == 100.0


def test_nothing_is_divided_where_nothing_is_known() -> None:
    assert stacked(None, {"parameters": 1.0}) == {}


@pytest.mark.parametrize(("forecast", "off"), [(100.0, 0.0), (80.0, 0.25), (125.0, -0.2), (0, None)])
def test_the_difference_from_the_forecast(forecast: float, off: float | None) -> None:
    made = planted_plan("draft", metrics=["memory/peak_allocated"], train=None)
    found = Bar(made.cases[0], {"parameters": 100.0}, {"parameters": forecast} if forecast else {}).off
    assert (found and found.value) == (None if off is None else pytest.approx(off))
