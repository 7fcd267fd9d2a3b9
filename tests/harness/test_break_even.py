"""The break-even line: closed forms, what must hold for any numbers, and the coverage of its band."""

from __future__ import annotations

import math
from dataclasses import replace

import break_even as script
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from present import present
from scipy import optimize, stats

from modbench.harness.stats.break_even import Found, Point, bends, break_even
from modbench.harness.stats.effects import t_quantile
from modbench.harness.stats.reason import Reason

INF = math.inf


def points(*values: float, sd: float = 0.01, n: int = 5) -> list[Point]:
    """Measured at 64, 128, 256, ..."""
    return [Point(64 * 2**i, value, sd, n) for i, value in enumerate(values)]


def test_two_points_give_the_root_and_fiellers_interval() -> None:
    found = break_even(points(-0.1, 0.3))
    assert found.outcome == "from"
    assert found.at == pytest.approx(64 * 2**0.25)
    # Equal spread and processes: degrees of freedom of the interpolated effect from 4 (at a point) to 8 (half way).

    def edge(share: float, sign: int) -> float:
        parts = ((1 - share) ** 2, share**2)
        freedom = 4 * sum(parts) ** 2 / sum(part**2 for part in parts)
        half = stats.t.ppf(0.975, freedom) * 0.01 / math.sqrt(5) * math.sqrt(sum(parts))
        return float(-0.1 + 0.4 * share + sign * half)

    ends = [optimize.brentq(edge, 0, 1, args=(sign,), xtol=1e-14) for sign in (1, -1)]
    assert [found.low, found.high] == pytest.approx([64 * 2**end for end in ends], rel=1e-9)


# So far from 0 that the interval touches it.
TOUCH = t_quantile(0.975, 5) * math.sqrt(Point(64, 0.0, 0.01, 5).variance)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((0.1, 0.3), Found("always")),
        ((0.3, 0.1), Found("always")),  # a fall does not matter where every point pays
        ((0.02, 0.01, 0.02), Found("always")),  # one undecided point above one that pays
        ((-0.1, -0.3), Found("never")),
        ((-0.02, -0.01, -0.02), Found("never")),
        ((0.1,), Found("always")),
        ((0.001,), Found("inconclusive")),
        ((TOUCH,), Found("inconclusive")),
        ((-TOUCH,), Found("inconclusive")),
        ((0.0, 0.001, 0.0), Found("inconclusive")),
        ((-0.001, 0.001), Found("inconclusive", 64 * 2**0.5)),
        ((TOUCH, 0.3), Found("from", high=64)),
        ((-0.3, -TOUCH), Found("inconclusive", low=128)),
        # The fit pools what falls.
        ((-0.1, 0.002, -0.004, 0.1), Found("from", 256 * 2 ** (0.001 / 0.101), 117.3, 282.2)),
    ],
)
def test_words_and_bands(values: tuple[float, ...], found: Found) -> None:
    said = break_even(points(*values))
    assert said.outcome == found.outcome
    for mine, other in ((said.at, found.at), (said.low, found.low), (said.high, found.high)):
        assert mine is other is None or present(mine) == pytest.approx(present(other), rel=1e-3)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_fall_is_a_welch_test_among_all_pairs_of_points(count: int) -> None:
    """Of many points a fall of the same size is chance."""
    pairs = count * (count - 1) // 2
    for share, wanted in ((0.97, True), (1.03, False)):
        half = stats.t.isf(0.05 * share / pairs, 8) * 0.01 * math.sqrt(2 / 5) / 2
        found = break_even(points(*[0.0] * (count - 2), half, -half))  # and 0 falls by half of it
        assert (found.outcome == "not monotone") == wanted
        if wanted:
            ends = {"first": math.exp(half), "first_at": 32 * 2.0 ** (count - 1), "last": math.exp(-half)}
            assert found.reason == Reason("falls", **ends, last_at=ends["first_at"] * 2)


def test_too_few_processes_have_no_line() -> None:
    two, one = break_even([*points(-0.1, 0.1), Point(512, 0.1, 0.01, 2)]), break_even([Point(512, 0.1, None, 1)])
    assert replace(two, reason=None) == replace(one, reason=None) == Found(None)
    assert (two.reason, one.reason) == (Reason("few_processes", n=2), Reason("few_processes", n=1))


def test_processes_that_agree_to_the_bit_have_a_line() -> None:
    found = break_even(points(-0.1, 0.1, sd=0.0))
    assert found.at == pytest.approx(64 * 2**0.5)
    assert [found.low, found.high] == pytest.approx([found.at, found.at])


def test_the_band_holds_the_estimate_where_points_are_pooled() -> None:
    """Of the first two the fit sees the first alone, which is known better: the line then begins to rise higher up."""
    found = break_even([Point(64, -0.0025, 0.0009, 6), Point(128, -0.0221, 0.015, 5), Point(256, 0.098, 0.0027, 10)])
    assert found.low == present(found.at)
    assert found.high == pytest.approx(157, abs=1)


def ends(found: Found) -> tuple[float, float]:
    """The band as an interval of the whole axis."""
    if found.outcome in {"always", "never"}:
        return (-INF, -INF) if found.outcome == "always" else (INF, INF)
    return (-INF if found.low is None else found.low), (INF if found.high is None else found.high)


ANY = st.lists(st.tuples(st.floats(-0.3, 0.3), st.floats(1e-4, 0.1), st.integers(3, 10)), min_size=1, max_size=6).map(
    lambda rows: [Point(64 * 2**i, *row) for i, row in enumerate(rows)]
)


def changed(given: list[Point], **changes: float) -> list[Point]:
    """The points with their values raised (`up`), or all of it scaled: the axis, the effects, the processes."""
    at, scale, more = (changes.get(name, 1) for name in ("at", "scale", "more"))
    up = changes.get("up", 0)
    return [Point(p.at * at, scale * (p.value + up), scale * (p.sd or 0), int(p.n * more)) for p in given]


@given(ANY)
def test_the_line_lies_in_its_band_and_the_band_in_the_range(given: list[Point]) -> None:
    found = break_even(given)
    low, high = ends(found)
    assert low <= high
    for inside in (found.at, found.low, found.high):
        assert inside is None or given[0].at * (1 - 1e-9) <= inside <= given[-1].at * (1 + 1e-9)
    if found.at is not None:
        assert low <= found.at <= high
    assert (found.reason is None) == (found.outcome != "not monotone")
    assert break_even(given[::-1]) == found


@given(ANY, st.floats(0, 0.2))
def test_a_faster_variant_never_pays_later(given: list[Point], up: float) -> None:
    before, after = break_even(given), break_even(changed(given, up=up))
    assume("not monotone" not in {before.outcome, after.outcome})
    for earlier, later in zip(ends(after), ends(before), strict=True):
        assert earlier <= later * (1 + 1e-9)
    if before.at is not None and after.at is not None:
        assert after.at <= before.at * (1 + 1e-9)


@given(ANY, st.floats(0.5, 2), st.floats(0.5, 2))
def test_the_units_of_the_axis_and_of_the_effect_do_not_matter(given: list[Point], at: float, scale: float) -> None:
    before, after = break_even(given), break_even(changed(given, at=at, scale=scale))
    assert after.outcome == before.outcome
    for one, other in ((before.at, after.at), (before.low, after.low), (before.high, after.high)):
        assert (other is None) == (one is None)
        assert one is None or other == pytest.approx(one * at, rel=1e-6)


@given(ANY)
def test_more_processes_never_widen_the_band(given: list[Point]) -> None:
    before, after = break_even(given), break_even(changed(given, more=4))
    assume("not monotone" not in {before.outcome, after.outcome})
    if after.outcome in {"always", "never"}:
        return  # the band, now outside the range, was open at that end
    (low, high), (lower, higher) = ends(before), ends(after)
    assert low <= lower * (1 + 1e-9) if lower > 0 else low == lower
    assert higher <= high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("values", "at", "wanted"),
    [
        ((-0.1, 0.1), (128, 256), 181),
        ((-0.18, -0.04, 0.06), (64, 96, 128), None),  # as dense as grids are
        ((-0.1, 0.1), (2, 4), 3),
        ((-0.1, 0.1), (1, 2), None),  # no length between
        ((-0.1, 0.1), (64, 96), None),
        ((-0.3, -0.1, 0.1), (64, 128, 256), 181),
        ((-0.15, -0.05, 0.4), (64, 96, 128), 111),  # bent
        ((-0.167, -0.066, 0.006, 0.4), (64, 96, 128, 180), 111),  # by the nearest length outside
        ((-0.112, -0.01, 0.062, 0.4), (64, 96, 128, 180), None),
        ((-0.001, 0.001), (128, 256), 181),  # undecided, with an estimate
        ((0.1, 0.3), (128, 512), None),
        ((-0.3, -0.1), (128, 512), None),
    ],
)
def test_the_length_to_measure_next_is_named(
    values: tuple[float, ...], at: tuple[int, ...], wanted: int | None
) -> None:
    """The middle of two lengths beside the line that are more than half an octave apart, or between which the effect bends."""
    found = break_even([Point(length, value, 0.01, 5) for length, value in zip(at, values, strict=True)])
    assert found.measure_next == wanted


@pytest.mark.parametrize("n", [3, 8])
def test_a_bend_of_even_points_is_a_t_test_of_their_second_difference(n: int) -> None:
    """Variances 1, 4 and 1 of equal samples: degrees of freedom twice those of one."""
    edge = stats.t.ppf(0.975, 2 * (n - 1)) * 0.01 * math.sqrt(6 / n)
    for bend, called in ((0.999 * edge, False), (1.001 * edge, True)):
        for sign in (1, -1):
            assert bends(points(0.1, 0.2, 0.3 + sign * bend, n=n)) == called


def test_a_bend_is_called_in_one_of_twenty_straight_lines() -> None:
    """Whatever the distances and the spreads; and a bend of four standard errors nearly always."""
    rng, hits = np.random.default_rng(0), {0.0: 0, 0.15: 0}
    at, sds = (64, 96, 256), (0.01, 0.03, 0.02)
    for bend in hits:
        for _ in range(2000):
            values = [0.3 + 0.1 * math.log(length / 100) + bend * (i == 1) for i, length in enumerate(at)]
            samples = [rng.normal(value, sd, 6) for value, sd in zip(values, sds, strict=True)]
            made = zip(at, samples, strict=True)
            hits[bend] += bends([Point(length, each.mean(), each.std(ddof=1), 6) for length, each in made])
    assert 70 <= hits[0.0] <= 130
    assert hits[0.15] > 1990


def test_measuring_what_is_named_makes_the_band_hold_a_line_that_bends() -> None:
    """At ten processes the band of straight pieces over octaves holds the curve's own line in about a third of the runs."""
    shares = [
        script.tally(script.CURVES[script.CURVED], 10, 100, grid_points=(0.5, 2.5), true=True, again=again).coverage
        for again in (False, True)
    ]
    assert shares[0] < 0.5
    assert shares[1] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("processes", script.PROCESSES)
def test_the_band_holds_planted_lines(processes: int) -> None:
    """Of 360 bands: 0.95 is within 0.92 to 0.98 with a probability of 0.99."""
    found = script.tally(script.CURVES["0.05, spread unequal"], processes, 40)
    assert found.fell == 0
    assert 0.92 <= found.coverage <= 0.98
    always, never = script.false_ends(0.01, processes, 200)
    assert always <= 0.055
    assert never <= 0.055


@pytest.mark.proof
@pytest.mark.parametrize("processes", script.PROCESSES)
@pytest.mark.parametrize("name", script.CURVES)
def test_the_band_holds_planted_lines_in_every_world(name: str, processes: int) -> None:
    """Where the effect is flat beside its spread the band holds more: another length may be the line as well."""
    found = script.tally(script.CURVES[name], processes, 1000)
    assert found.fell <= 0.001 * 9000
    assert 0.93 <= found.coverage <= (0.99 if "flat" in name else 0.97)
    always, never = script.false_ends(0.05, processes, 4000)
    assert 0.015 <= always <= 0.035
    assert 0.015 <= never <= 0.035
