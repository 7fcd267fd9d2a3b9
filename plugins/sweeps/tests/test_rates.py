"""Learning rates: which are tried, until the best is inside."""

from __future__ import annotations

import math

import pytest

from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.plugins.sweeps.rates.measurement import search


@pytest.mark.parametrize(
    ("losses", "tried", "best"),
    [
        ({0.5: 2.0, 1.0: 1.0, 2.0: 3.0}, 3, 1.0),  # in the middle: three are enough
        ({0.5: 3.0, 1.0: 2.0, 2.0: 1.0, 4.0: 1.5}, 4, 2.0),  # at the edge: one more
        ({0.125: 2.0, 0.25: 1.0, 0.5: 1.5, 1.0: 2.0, 2.0: 3.0}, 5, 0.25),
        (
            {0.5: 3.0, 1.0: 2.0, 2.0: 1.5, 4.0: 1.2, 8.0: 1.1, 16.0: 1.0},
            6,
            16.0,
        ),  # still at the edge: it stops, and says so
        ({0.5: 1.0, 1.0: math.nan, 2.0: math.nan, 0.25: 2.0}, 4, 0.5),  # diverged
    ],
)
def test_rates_are_tried_until_the_best_is_inside(losses: dict[float, float], tried: int, best: float) -> None:
    def loss(rate: float) -> float:
        if math.isnan(losses[rate]):
            raise NumericsError("diverged")
        return losses[rate]

    found = search(loss, (0.5, 1.0, 2.0))
    assert len(found.losses) == tried
    assert found.best == best


def test_if_every_rate_diverges_there_is_none() -> None:
    def loss(_: float) -> float:
        raise NumericsError("diverged")

    with pytest.raises(Unmeasured, match=r"every rate .*0\.0625, 0\.125"):
        search(loss, (0.5, 1.0, 2.0))
