"""A trend over budgets: its statistics in closed form, which sizes are trained again, what a suite may ask for."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from planted_sweeps import BUDGETS, FOUR_SIZES, followed, losses_along, over, sizes
from present import present
from scipy import stats

from modbench.extend import planted_run
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.results import run_folder
from modbench.harness.training.batches import Batch
from modbench.harness.training.held_out import mean_loss
from modbench.plugins.sweeps.isoflop.plan import budget_of
from modbench.plugins.sweeps.trend.rule import Followed
from modbench.plugins.sweeps.trend.statistics import (
    Bend,
    Budget,
    Crossing,
    Sizes,
    Trend,
    Tried,
    bend_of,
    curves,
    pairs,
    sign,
    step,
    unequal,
)

SURE = Bend(0.05, 0.0, 100.0)
FEW, MANY = (-0.03, 0.0, 0.03), (-0.03, 0.0, 0.03) * 12


def half_over_error(found: Any) -> float:
    """The quantile of t that an interval was made with."""
    return float((present(found.high) - found.value) / found.error)


# --- one budget


@example(11.41, 0.1, 0.0)
@example(11.39, 0.1, 0.0)
@example(13.19, 0.1, 0.0)
@example(13.21, 0.1, 0.0)
@given(st.floats(11, 13.6), st.floats(0.01, 0.3), st.floats(-1, 1))
def test_the_lowest_point_of_a_parabola_is_found_from_two_sizes(optimum: float, bend: float, level: float) -> None:
    made = sizes(optimum, level, bend=bend)
    assert made.place(bend) == pytest.approx(optimum, abs=1e-9)
    assert made.lowest(made.losses_S2, bend) == pytest.approx(level, abs=1e-9)
    assert made.is_near(bend) == (11.4 <= optimum <= 13.2)


def test_noise_of_the_chord_is_added_back() -> None:
    """Over seeds whose two losses are independent, the mean of what is found is the true optimum."""
    rng, exact = np.random.default_rng(0), sizes(12.3, 1.5)
    drawn = [Sizes(exact.low, exact.high, exact.losses_S2 + rng.normal(0, 0.03, (3, 2))) for _ in range(4000)]
    plain = np.array([each.lowest(each.losses_S2, 0.05).mean() for each in drawn])
    found = plain + [each.raised(0.05) for each in drawn]
    error = float(np.std(found) / math.sqrt(len(found)))
    assert np.mean(found) == pytest.approx(1.5, abs=4 * error)
    # Variance of the chord, 2 sd² / (3 seeds 0.6²), over four times the curvature.
    assert np.mean(plain) == pytest.approx(1.5 - 2 * 0.03**2 / (3 * 0.6**2) / 0.2, abs=4 * error)


@pytest.mark.parametrize(
    ("mine", "bends", "error"),
    [
        # The variant's optimum is at its smaller size, where the curvature says nothing; the anchor's lies between: 0.3² below.
        (12.0, (Bend(0.05, 0.02, 20.0), Bend(0.05, 0.01, 20.0)), 0.3**2 * 0.01),
        (12.3, (Bend(0.05, 0.02, 20.0), Bend(0.05, 0.02, 21.0)), 0.3**2 * 0.02 * math.sqrt(2)),
        (12.3, (Bend(0.05, 0.02, 20.0),) * 2, 0.0),  # one curvature of both errs for both alike
    ],
)
def test_the_curvature_adds_to_the_error(mine: float, bends: tuple[Bend, Bend], error: float) -> None:
    found = Trend([Budget(1e12 * 4**i, sizes(mine, 1.5), sizes(12.3, 1.5)) for i in range(3)], *bends)
    assert found.differences[0].error == pytest.approx(error, abs=1e-12)
    assert present(found.slope).error == pytest.approx(0, abs=1e-12)  # common to all budgets


def test_the_text_adds_to_the_error() -> None:
    text_B = [-0.02, 0.0, 0.02, 0.0]
    mine, theirs = sizes(12.2, 1.5, text_B=text_B), sizes(12.4, 1.5, text_B=[0.0] * 4)
    found = Trend([Budget(flops, mine, theirs) for flops in (1e12, 4e12)], SURE, SURE)
    assert found.has_text
    assert found.differences[0].error == pytest.approx(np.std(text_B, ddof=1) / 2)
    assert present(found.slope).error == pytest.approx(0, abs=1e-12)  # the same text at both budgets


# --- the line


def test_differences_and_slope_are_those_of_the_optima_not_of_the_sizes() -> None:
    found = over([-0.02, 0.0, 0.02])
    assert [each.value for each in found.differences] == pytest.approx([-0.02, 0.0, 0.02], abs=1e-12)
    slope = present(found.slope)
    assert slope.value == pytest.approx(0.02 / math.log(4))
    # Seeds at the two ends count: sd 0.01, 3 seeds each, over 2 log 4 e-folds.
    assert slope.error == pytest.approx(0.01 / math.sqrt(3) * math.sqrt(2) / (2 * math.log(4)))
    assert present(found.bent).value == pytest.approx(0, abs=1e-12)
    assert found.lowest(0) == pytest.approx((1.48, 1.5))


def test_a_forecast_is_wider_than_the_line_and_narrower_with_more_seeds() -> None:
    found = over([-0.02, 0.0, 0.02])
    line, few, many = found.at(6.4e13), *(found.forecast(6.4e13, seeds) for seeds in (4, 400))
    assert [present(each).value for each in (line, few, many)] == pytest.approx([0.04] * 3)
    errors = [present(present(each).error) for each in (line, few, many)]
    assert errors[1] ** 2 == pytest.approx(errors[0] ** 2 + 0.01**2 / 4)
    assert errors[0] < errors[2] < errors[1]


def test_two_seeds_have_no_interval() -> None:
    found = over([-0.02, 0.0, 0.02], (-0.01, 0.01))
    assert present(found.slope).low is None
    assert (found.forecast(6.4e13, 4), found.crossing().outcome) == (None, "inconclusive")


@pytest.mark.parametrize("differences", [(-0.2, 0.3), (-0.2, -0.3), (0.2, 0.0)])
def test_two_budgets_have_a_slope_and_no_crossing_since_no_line_was_tested(differences: Any) -> None:
    found = over(differences)
    assert found.slope is not None
    assert (found.is_straight, found.crossing()) == (None, Crossing("inconclusive"))


def test_a_budget_off_the_line_of_the_others_refuses_a_line_that_is_not_bent() -> None:
    """As published: 54 seeds at 4e12 told a line from what they found, which the quadratic term did not."""
    differences, few, many = (-0.047, 0.0095, 0.016, 0.036), (-0.024, 0.0, 0.024), (-0.024, 0.0, 0.024) * 18
    found = over(differences, few, many, few, few)
    bent, (at, apart) = present(found.bent), present(found.off_line)
    assert present(bent.low) < 0 < present(bent.high)
    # The others' line, by numpy.
    others = float(np.polyval(np.polyfit([0, 2, 3], [-0.047, 0.016, 0.036], 1), 1))
    weights = (4 / 7) ** 2 + (2 / 7) ** 2 + (1 / 7) ** 2
    assert at == 1
    assert apart.value == pytest.approx(0.0095 - others)
    assert apart.error == pytest.approx(found.spread * math.sqrt(1 / 54 + weights / 3))
    assert (found.is_straight, found.crossing()) == (False, Crossing("inconclusive"))
    # With as few seeds as at the others it would not be told, nor would three budgets say which of them is off.
    assert over(differences, few).off_line is over((-0.2, 0.3, -0.1), few).off_line is None


# --- the spread of seeds

LUCKY = (-0.004, 0.0, 0.0, 0.004)  # what four seeds may show where others have (-0.02, 0.0, 0.0, 0.02)
USUAL = (-0.02, 0.0, 0.0, 0.02)


def test_unequal_is_bartletts_test() -> None:
    samples = [np.random.default_rng(i).normal(0, 1 + i, 4 + i) for i in range(4)]
    found = unequal([each.var(ddof=1) for each in samples], [len(each) - 1 for each in samples])
    assert found == pytest.approx(stats.bartlett(*samples).pvalue)
    assert unequal([2.0], [3.0]) == unequal([0.0, 0.0], [3.0, 5.0]) == 1
    assert unequal([0.0, 1.0], [3.0, 5.0]) == 0


def test_a_lucky_budget_does_not_narrow_an_interval() -> None:
    found = over((0.0, 0.0, 0.0), USUAL, USUAL, LUCKY)
    assert found.has_one_spread
    assert found.spreads == pytest.approx([np.std(each, ddof=1) for each in (USUAL, USUAL, LUCKY)])
    pooled = math.sqrt((2 * np.var(USUAL, ddof=1) + np.var(LUCKY, ddof=1)) / 3)
    assert found.spread == pytest.approx(pooled)
    assert [each.error for each in found.differences] == pytest.approx([pooled / 2] * 3)
    # t of all nine degrees of freedom, in the line, the slope and the forecast: what is measured has the spread of the line.
    ahead = present(found.forecast(6.4e13, 4))
    for each in (ahead, present(found.slope), found.differences[-1]):
        assert half_over_error(each) == pytest.approx(stats.t.ppf(0.975, 9))
    assert ahead.error == pytest.approx(pooled * math.sqrt((7 / 3 + 1) / 4))


def test_where_bartletts_test_speaks_against_it_each_budget_has_its_own_spread() -> None:
    found = over((0.0, 0.0, 0.0), USUAL, USUAL, [each / 20 for each in LUCKY])
    assert not found.has_one_spread
    assert [each.error for each in found.differences] == pytest.approx([each / 2 for each in found.spreads])
    assert half_over_error(found.differences[-1]) == pytest.approx(stats.t.ppf(0.975, 3))
    # The line at 6.4e13 weighs the budgets by -2/3, 1/3 and 4/3; four more seeds spread as the last budget's.
    variance = np.array([4 / 9, 1 / 9, 16 / 9 + 1]) @ np.square(found.spreads) / 4
    assert present(found.forecast(6.4e13, 4)).error == pytest.approx(math.sqrt(variance))


# --- the crossing


@pytest.mark.parametrize(
    ("differences", "outcome", "known"),
    [
        ((-0.1, 0.0, 0.1), "both ends", (True, True)),
        ((-0.1, -0.05, 0.0), "one sign", (True, False)),
        ((0.005, 0.05, 0.095), "one sign", (False, True)),
        ((0.1, 0.11, 0.12), "none", (False, False)),
        ((-0.005, 0.0, 0.005), "inconclusive", (False, False)),
        ((-0.2, 0.3, -0.1), "inconclusive", (False, False)),  # bent
    ],
)
def test_where_the_difference_is_zero(differences: Any, outcome: str, known: tuple[bool, bool]) -> None:
    """And the same seen from the other variant."""
    for side in (differences, [-each for each in differences]):
        found = over(side).crossing()
        assert (found.outcome, (found.low is not None, found.high is not None)) == (outcome, known)
        assert (found.flops is None) == (outcome != "both ends")


def test_at_an_end_of_the_crossing_the_interval_reaches_zero() -> None:
    for slope in (-0.1, 0.1):
        found = over([-slope, 0.0, slope])
        crossing = found.crossing()
        assert crossing.flops == pytest.approx(4e12)
        assert 1e12 < present(crossing.low) < 4e12 < present(crossing.high) < 1.6e13
        below, above = (present(found.at(present(end))) for end in (crossing.low, crossing.high))
        ends = (below.high, above.low) if slope > 0 else (below.low, above.high)
        assert ends == pytest.approx((0, 0), abs=1e-9)


def test_a_line_that_is_told_from_0_at_one_end_crosses_only_where_a_budget_shows_the_other_sign() -> None:
    found = over((-0.012, 0.03, 0.06), MANY, FEW, FEW)
    crossing = found.crossing()
    assert [sign(each) for each in found.differences] == [-1, 1, 1]
    assert (crossing.outcome, crossing.low) == ("one end", None)
    assert 1e12 < present(crossing.flops) < present(crossing.high) < 4e12
    never = over((0.0, 0.03, 0.06), MANY, FEW, FEW).crossing()
    assert (never.outcome, never.flops, never.low, never.high is None) == ("one sign", None, None, False)


# --- which sizes

GRID_POINTS = (10.0, 10.5, 11.0, 11.5)


@pytest.mark.parametrize(("optimum", "move"), [(12.3, 0), (12.74, 0), (12.76, 1), (11.86, 0), (11.84, -1)])
def test_sizes_move_towards_an_optimum_that_lies_beyond_them(optimum: float, move: int) -> None:
    assert step(sizes(optimum, 1.5), SURE) == move
    assert step(sizes(optimum, 1.5), None) == 0


def tried(optimum: dict[str, float], budgets: tuple[float, ...] = (1.0, 4.0), bend: float = 0.1) -> list[Tried]:
    """Exact losses of two seeds; the optimum moves by half the logarithm of the budget."""
    return [
        Tried(variant, flops, place, seed, 2 + seed * 0.01 + bend * (place - at - math.log(flops) / 2) ** 2)
        for variant, at in optimum.items()
        for flops in budgets
        for place in GRID_POINTS
        for seed in (0, 1)
    ]


def test_two_sizes_lie_around_the_optimum_also_where_nothing_was_explored() -> None:
    fitted = curves(tried({"dense": 10.2, "mod": 10.6}))
    places = dict.fromkeys((1.0, 4.0, 16.0), GRID_POINTS)
    assert pairs(fitted["dense"], "dense", places) == {1.0: 0, 4.0: 1, 16.0: 2}  # 10.2, 10.9, 11.6
    assert pairs(fitted["mod"], "mod", places) == {1.0: 1, 4.0: 2, 16.0: 2}  # 10.6, 11.3, 12.0
    flat = curves(tried({"dense": 10.2}, bend=-0.1))["dense"]
    assert pairs(flat, "dense", places) is None
    assert bend_of(flat) is None


def test_variants_share_a_curvature_where_each_has_too_little_to_tell_its_own() -> None:
    own = curves(tried({"dense": 10.2, "mod": 10.6}))
    assert own["dense"] is not own["mod"]
    shared = curves(tried({"dense": 10.2, "mod": 10.6}, budgets=(1.0,)))
    assert shared["dense"] is shared["mod"]
    assert present(bend_of(shared["mod"])).value == pytest.approx(0.1)


# --- suites


def told(folder: Path) -> tuple[Followed, list[tuple[Case, int]]]:
    """What the rule left, and the fresh runs: case and seed."""
    run = run_folder.read(str(folder))
    assert not run.incomplete
    (found,) = run.found(Followed).values()
    fresh = [record.job for record in run.records if record.job.made_in == "confirm"]
    assert {present(job.protocol.train).held_out for job in fresh} <= {"confirm"}
    return found, [(job.comparison.variants[0], job.protocol.seed) for job in fresh]


@pytest.mark.slow
def test_two_sizes_of_each_variant_get_the_fresh_seeds_of_their_budget(tmp_path: Path) -> None:
    made = followed()
    found, fresh = told(planted_run(tmp_path, made, losses=losses_along(made, 0.02), run_noise=0.001))
    assert [(side.train_flops, side.variant) for side in found.sides] == [
        (budget, variant) for budget in BUDGETS for variant in dict.fromkeys(case.family for case in made.cases)
    ]
    assert {case.id for case, _ in fresh} == {case for side in found.sides for case in side.cases}
    seeds = Counter(budget for budget, _ in {(budget_of(case), seed) for case, seed in fresh})
    assert seeds == dict(zip(BUDGETS, (5, 4, 3), strict=True))
    assert min(seed for _, seed in fresh) >= 1000


@pytest.mark.slow
def test_where_first_seeds_place_the_optimum_elsewhere_other_sizes_are_taken(tmp_path: Path) -> None:
    """The best size grows with three times the power that is expected, and only the smallest budget is explored."""
    made = followed(trend={"seeds": 4, "explored": BUDGETS[0]})
    exploring = {budget_of(case) for job in made.jobs if job.made_in == "train" for case in job.comparison.variants}
    assert exploring == {BUDGETS[0]}
    found, fresh = told(planted_run(tmp_path, made, losses=losses_along(made, 0.0, growth=1.5), run_noise=0.001))
    widths = {case.id: case.config.d_model for case in made.cases}
    chosen = {(side.train_flops, side.variant): [widths[case] for case in side.cases] for side in found.sides}
    assert chosen[BUDGETS[2], "dense"] == [24, 32]
    last = [case.config.d_model for case, _ in fresh if case.model == "dense" and budget_of(case) == BUDGETS[2]]
    assert Counter(last) == {16: 2, 24: 4, 32: 4}


@pytest.mark.slow
@pytest.mark.parametrize(("effort", "sides", "said"), [("draft", 0, "no optimum"), ("smoke", 6, "")])
def test_where_losses_do_not_bend_only_a_smoke_run_trains_again(
    effort: str, sides: int, said: str, tmp_path: Path
) -> None:
    made = followed(effort)
    found, _ = told(planted_run(tmp_path, made, losses=losses_along(made, 0.0, bend=-0.1), run_noise=0.001))
    assert (len(found.sides), said in (found.reason or "")) == (sides, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"isoflop": None}, "needs an [isoflop] table"),
        ({"confirm": {}}, "keep one of them"),
        ({"trend": {"seeds": [4, 4]}}, "2 numbers of seeds for 3 budgets"),
        ({"trend": {"first_seed": 1}}, "seed 1 is one of the sweep's"),
        ({"trend": {"explored": 1e9}}, "below every budget"),
        ({"trend": {"forecast": 4e10}}, "must be above"),
        ({"isoflop": {"train_flops": [*BUDGETS], "sizes": FOUR_SIZES[:2], "max_epochs": 1e9}}, "a curve needs three"),
    ],
)
def test_what_cannot_be_followed_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        followed(**changes)


# --- losses of the text's stretches


class Known:
    """A subject whose loss on a window follows from its first token: softmax over two logits, the right one higher by it."""

    case = SimpleNamespace(grid_point=SimpleNamespace(device="cpu", dtype="fp32"))

    def logits(self, tokens_BT: torch.Tensor, *, causal: bool) -> tuple[torch.Tensor, None]:  # noqa: ARG002  # as a subject
        right_BT = tokens_BT[:, :1].expand_as(tokens_BT).float() / 100
        return torch.stack([right_BT, torch.zeros_like(right_BT)], -1), None


@pytest.mark.parametrize(("windows", "blocks"), [(6, 6), (64, 64), (192, 64)])
def test_each_stretch_of_the_text_has_a_loss_in_order(windows: int, blocks: int) -> None:
    tokens_NT = torch.arange(windows)[:, None].expand(windows, 3)
    batches = [Batch(part, torch.zeros_like(part)) for part in tokens_NT.split(5)]
    made = mean_loss(Known(), batches)  # type: ignore[arg-type]  # what it reads of a subject
    exact_N = np.log1p(np.exp(-np.arange(windows) / 100))
    assert made.by_block == pytest.approx(exact_N.reshape(blocks, -1).mean(1), rel=1e-5)
    assert made.loss == pytest.approx(exact_N.mean(), rel=1e-5)
