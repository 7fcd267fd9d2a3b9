"""The section of memory: bytes by kind add up to what was measured."""

from __future__ import annotations

import pytest

from modbench.planted_runs import planted_plan
from modbench.reports.sections.memory import Bar, stacked


@pytest.mark.parametrize(
    ("optimizer", "activations", "rest"),
    [
        (20.0, 30.0, {"optimizer": 20.0, "activations": 30.0, "gradients, workspace": 40.0}),
        (20.0, None, {"optimizer": 20.0, "activations, gradients, workspace": 70.0}),
        (None, None, {"everything else": 90.0}),
        (200.0, None, {"everything else": 100.0}),  # more than the whole: one of them is not what was weighed
    ],
)
def test_kinds_of_memory_add_up_to_what_was_measured(
    optimizer: float | None, activations: float | None, rest: dict[str, float]
) -> None:
    kinds = {"parameters": 10.0, "optimizer": optimizer, "activations": activations}
    assert stacked(100.0, kinds) == ({"parameters": 10.0} if optimizer != 200.0 else {}) | rest
    assert sum(stacked(100.0, kinds).values()) == 100.0
    assert stacked(None, kinds) == {}


@pytest.mark.parametrize(("forecast", "off"), [(100.0, 0.0), (80.0, 0.25), (125.0, -0.2), (0, None)])
def test_the_difference_from_the_forecast(forecast: float, off: float | None) -> None:
    case = planted_plan("draft", metrics=["memory/peak_allocated"], train=None).cases[0]
    found = Bar(case, {"parameters": 100.0}, {"parameters": forecast} if forecast else {}).off
    assert (found and found.value) == (None if off is None else pytest.approx(off))
