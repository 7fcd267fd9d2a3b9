"""A gate that looks several times: its level, its power, its boundaries, and the cases that it calls worse together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paired_power import advised, gates, too_alike
from present import present

from modbench.harness.stats import alpha_spending, effects, gate_looks, group_sequential

EDGE = math.log1p(0.02)


def test_equal_code_passes_and_three_per_cent_fail() -> None:
    """At a spread of 1.5 % between blocks, in 60 of them: a small form of tests/bench/paired_power.py."""
    random = np.random.default_rng(0)
    assert gates(random, 0.015, slower=0.0, total=60, repeats=100).passed == 1
    assert gates(random, 0.015, slower=0.03, total=60, repeats=100).worse == 1


def test_what_is_slower_by_exactly_the_margin_rarely_passes_or_fails() -> None:
    """At most 5 % of either: 15 of 200 gates leave room for chance (a binomial of 5 % exceeds it in 1 of 30)."""
    told = gates(np.random.default_rng(0), 0.02, slower=0.02, total=20, repeats=200, cases=2)
    assert told.passed <= 15 / 200
    assert told.worse <= 15 / 200


def test_one_look_is_a_t_test() -> None:
    """Of a plan of one look the interval is Student's 90 % interval."""
    values = np.random.default_rng(1).normal(0.01, 0.02, 12)
    (found,) = gate_looks.look([values.tolist()], [EDGE], [12], 12)
    known = effects.over_launches(values.tolist())
    level = alpha_spending.boundaries([1.0], group_sequential.guarded(0.1, 12, gate_looks.LOOKS))[0]
    assert level == pytest.approx(0.1 * (1 - 1 / 12))
    low, high = group_sequential.ends(known.value, found.error, 11, level)
    assert (found.value, found.low, found.high) == pytest.approx((known.value, low, high))


@given(st.lists(st.floats(-0.1, 0.1), min_size=5, max_size=30), st.integers(0, 30))
def test_an_earlier_look_is_never_narrower(values: list[float], more: int) -> None:
    number = len(values)
    (early,) = gate_looks.look([values], [EDGE], [number], number + more + 1)
    (late,) = gate_looks.look([values], [EDGE], [number], number)
    assert early.low <= late.low + 1e-12
    assert early.high >= late.high - 1e-12


def test_holm_stops_at_the_first_case_that_it_does_not_show() -> None:
    """Of two cases just as slow as one needs alone, neither is shown; the step after the first is that of one case."""
    random = np.random.default_rng(2)
    noise = random.normal(0, 0.01, 20)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 0.01
    critical = group_sequential.ends(0, 0.01 / math.sqrt(20), 19, 2 * gate_looks.ALPHA * (1 - 1 / 20))[1]
    barely = (noise - EDGE - critical * 1.001).tolist()
    far = (noise - 2 * EDGE - 1).tolist()
    words = [each.word for each in gate_looks.look([barely, barely], [EDGE] * 2, [20], 20)]
    assert words == ["cannot tell", "cannot tell"]
    assert [each.word for each in gate_looks.look([barely, far], [EDGE] * 2, [20], 20)] == ["worse", "worse"]


def test_no_spread_is_no_doubt() -> None:
    same, slow = [0.0] * 5, [-0.1] * 5
    assert [each.word for each in gate_looks.look([same, slow], [EDGE] * 2, [5], 5)] == ["pass", "worse"]


@pytest.mark.parametrize("slower", [0.01, 0.03])
def test_the_blocks_that_are_advised_decide(slower: float) -> None:
    """1 % from the margin, on either side: in 0.8 or more, a small form of tests/bench/paired_power.py."""
    found = advised(np.random.default_rng(3), 0.015, slower=slower, total=10, gates=12)
    assert found.open == 12
    assert found.more == 1
    assert found.decided >= 0.8


def test_advice_counts_the_distance_from_the_estimate() -> None:
    """Closer to the margin by the estimate, on either side, more blocks are advised; always more than there are."""
    noise = np.random.default_rng(4).normal(0, 0.02, 10)
    noise -= noise.mean()
    advice = []
    for slower in (0.0, 0.005, 0.01, 0.03, 0.035, 0.04):
        (found,) = gate_looks.look([(noise - math.log1p(slower)).tolist()], [EDGE], [10], 10)
        advice.append(gate_looks.blocks_needed([found], [EDGE]))
    known = [each for each in advice if each is not None]
    assert len(known) == len(advice)
    assert known[:3] == sorted(known[:3])
    assert known[3:] == sorted(known[3:], reverse=True)
    assert min(known) > 10
    (still,) = gate_looks.look([[0.0] * 10], [EDGE], [10], 10)
    assert gate_looks.blocks_needed([still], [EDGE]) == math.ceil(1.1 * 11)


def test_neighbours_that_are_alike_decide_nothing_from_twenty_blocks_on() -> None:
    """The correlation in closed form, and that it withholds both verdicts."""
    slow = np.repeat([0.001, -0.001, 0.001, -0.001, 0.001], 5)
    rest = slow[:20] - slow[:20].mean()
    assert gate_looks.serial(slow[:20]) == pytest.approx(float(rest[:-1] @ rest[1:] / (rest @ rest)))
    assert gate_looks.serial(np.zeros(20)) == 0
    for value, word in ((0.0, "pass"), (-0.1, "worse")):
        (few,) = gate_looks.look([(slow[:19] + value).tolist()], [EDGE], [19], 19)
        (many,) = gate_looks.look([(slow[:20] + value).tolist()], [EDGE], [20], 20)
        mixed = np.random.default_rng(0).permutation(slow[:20])
        (other,) = gate_looks.look([(mixed + value).tolist()], [EDGE], [20], 20)
        assert (few.word, few.serial) == (other.word, other.serial) == (word, None)
        assert many.word == "cannot tell"
        assert many.serial == pytest.approx(gate_looks.serial(slow[:20]))
        assert present(many.serial) > 0.3


def test_the_order_of_independent_blocks_rarely_speaks_against_them() -> None:
    """In 5 % of looks at most, of one case or of 34: 16 of 200 leave room for chance (1 in 30)."""
    for cases in (1, 34):
        assert too_alike(np.random.default_rng(0), 0.0, cases=cases, blocks=20, repeats=200) <= 16 / 200
    assert too_alike(np.random.default_rng(0), 0.7, cases=1, blocks=50, repeats=100) > 0.9


def test_a_look_needs_five_blocks_of_each_case() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        gate_looks.look([[0.0] * 4], [EDGE], [4], 10)
    with pytest.raises(ValueError, match="as many of each"):
        gate_looks.look([[0.0] * 6, [0.0] * 5], [EDGE] * 2, [6], 10)
    with pytest.raises(ValueError, match="at least 5"):
        gate_looks.schedule(4)
