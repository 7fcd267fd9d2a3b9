"""What the ratios of times stand on, on the first screen."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from modbench.reports.questions.summary import half_of
from modbench.reports.tables.comparisons import BY_CPU, RATIO


@pytest.mark.parametrize(
    ("labels", "wall", "cpu", "half"),
    [
        ("", (0.9, 0.9 * 1.1**2), (0.9, 0.9 * 1.02**2), 0.1),
        ("by CPU time", (0.9, 0.9 * 1.1**2), (0.9, 0.9 * 1.02**2), 0.02),
        ("", (None, None), (0.9, 0.9 * 1.02**2), None),
    ],
)
def test_the_width_is_that_of_the_intervals_that_decided(labels: str, wall: Any, cpu: Any, half: float | None) -> None:
    ends = dict(zip(RATIO + BY_CPU, (1.0, *wall, 1.0, *cpu), strict=True))
    rows = pd.DataFrame([ends], dtype=float).assign(labels=labels)
    assert half_of(rows).value == (None if half is None else pytest.approx(half))
