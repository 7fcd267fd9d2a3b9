"""Contrasts held to limits: what passes, what fails, and how often chance alone fails a gate."""

from __future__ import annotations

import numpy as np
import pytest

from modbench.harness.stats.verdicts import ByClock, Contrast, Rule, Side, contrast, limited

EDGE = 0.02


def loss(differences: list[float]) -> Contrast:
    """A loss of as many seeds, which rose by so much in each."""
    base, new = (
        Side(ByClock(dict(enumerate(values)))) for values in ([2.0] * len(differences), [2.0 + d for d in differences])
    )
    return contrast(base, new, "interleaved", Rule("loss", EDGE))


@pytest.mark.slow
def test_at_the_limit_false_alarms_are_rare_over_the_whole_gate() -> None:
    """Every loss is higher by exactly the limit: nothing may fail, in 95 % of gates, and nothing should pass."""
    rng, alarms, passed = np.random.default_rng(1), 0, 0
    for _ in range(60):
        held = limited([loss([*row]) for row in rng.normal(EDGE, 0.01, (34, 6))], [EDGE] * 34)
        alarms += any(each.word == "fail" for each in held)
        passed += all(each.word == "pass" for each in held)
    assert alarms <= 7  # 3 expected; more than 7 with probability below 2 %
    assert passed == 0


@pytest.mark.parametrize(
    ("rise", "limit", "beyond", "word"),
    [
        (0.0, EDGE, EDGE, "pass"),
        (EDGE / 2, EDGE, EDGE, "pass"),
        (EDGE / 2, EDGE, 0.0, "fail"),  # without a limit of its own any rise that is shown
        (2 * EDGE, EDGE, EDGE, "fail"),
        (-2 * EDGE, EDGE, EDGE, "pass"),
    ],
)
def test_a_change_without_variance_is_decided(rise: float, limit: float, beyond: float, word: str) -> None:
    (held,) = limited([loss([rise] * 4)], [limit], [beyond])
    assert held.word == word
