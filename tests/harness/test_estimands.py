"""Typical calls and mean times: planted worlds on which the two disagree, what a report says of them, and how often each errs."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import verdict_errors
from planted import stored
from simulate import World, covered, pairs, words

from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import Label
from modbench.harness.measure.passes.time import number_of_inputs
from modbench.planted_runs import planted_plan
from modbench.reports.html_report import render
from modbench.reports.tables import comparisons
from modbench.reports.tables.load import load

# Input costs of a variant: cheap for most inputs, dear for some. Its typical call is faster than the anchor's, its mean is
# slower.
MOSTLY_HALF = (0.5,) * 9 + (2.0,) * 7
SOME_DEAR = (0.95,) * 10 + (4.0,) * 6


@pytest.mark.parametrize(
    ("world", "typical", "mean"),
    [
        (World(rounds=16, costs=MOSTLY_HALF), 1.97, 16 / (9 * 0.5 + 7 * 2.0)),
        (World(rounds=16, costs=SOME_DEAR), 1.05, 16 / (10 * 0.95 + 6 * 4.0)),
        (World(processes=15, rounds=16, costs=(0.95,), spikes=0.1), 1.05, 1 / (0.95 * 1.2)),
    ],
    ids=["half of the inputs are dear", "some inputs are very dear", "one call in ten stalls"],
)
def test_each_metric_is_judged_by_its_estimand(world: World, typical: float, mean: float) -> None:
    """The median and the mean say the opposite: a latency is better, a training step worse, and both say that there is a tail."""
    found = pairs(world, [1.0], random.Random(0))[0]
    means = pairs(world, [1.0], random.Random(0), "mean")[0]
    assert math.exp(found.effect.value) == pytest.approx(typical, rel=0.03)
    assert math.exp(means.effect.value) == pytest.approx(mean, rel=0.04)
    assert covered(means.effect, math.log(mean))
    assert (found.wall.other, means.wall.other) == (means.effect, found.effect)
    assert words([found, means]) == ["better", "worse"]
    assert (found.tail, means.tail) == (True, True)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_disagreement_is_in_the_tables(tmp_path: Path) -> None:
    """In CSV: both ratios with their intervals, verdict and label; and the input dependence as a label of its own."""
    made = planted_plan("draft", metrics=["latency/forward"], processes=5, rounds=16)
    frame = stored(tmp_path, made, costs={"mod[c0.5]": MOSTLY_HALF})
    rows = frame[(frame.baseline_variant == "dense") & (frame.seq_len == 64)].set_index("variant")
    row = rows.loc["mod[c0.5]"]
    assert (row.verdict, row.labels.split(";")) == ("better", [Label.INPUT_DEPENDENT, Label.TAIL])
    assert row.ratio > 1.9
    assert row.mean_ratio_ci_low < 16 / (9 * 0.5 + 7 * 2.0) < row.mean_ratio_ci_high < 1
    assert re.search(r"1\.9\d× against 0\.8\d+×", str(row.reason))
    other = rows.loc["mod[c0.125]"]
    assert other.verdict == "better"
    assert pd.isna(other.labels)
    assert other.mean_ratio == pytest.approx(1.6, rel=0.01)
    assert Label.INPUT_DEPENDENT in render.html(load(tmp_path / "run"))


@pytest.mark.parametrize(
    ("rounds", "varying", "inputs"),
    [
        *((6, False, 6), (8, False, 4), (6, True, 6), (16, True, 16), (20, True, 10), (60, True, 15), (3, True, 3)),
        *((17, True, 16), (17, False, 4)),  # without a divisor there are several inputs all the same
    ],
)
def test_inputs_are_visited_equally_often(rounds: int, varying: bool, inputs: int) -> None:
    assert number_of_inputs(rounds, varying=varying) == inputs


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.proof if i % 2 else ()) for i, name in enumerate(verdict_errors.ESTIMANDS)],
)
def test_both_intervals_hold_their_truth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On small counts, as all that follow; `benchmarks/verdict_errors.py` prints the tables of the documentation."""
    # The typical truth is then known to a twentieth of an interval's half width.
    monkeypatch.setattr(verdict_errors, "LONG_RUN", 1500)
    typical, mean = verdict_errors.both_held(verdict_errors.ESTIMANDS[name], 10, 6, 150)
    assert min(typical, mean) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("noise", "busy processes", "waits in 80 % of one, 30 % of the other"),
        *(f"{share} % waits in 90 % of one, 20 % of the other" for share in (3, 1)),
    ],
)
def test_the_clock_that_decides_holds_the_truth(name: str) -> None:
    found = verdict_errors.judged(verdict_errors.CLOCKS[name], 1.02, 150)
    assert found.held >= 0.9
    assert found.worse <= 0.06


@pytest.mark.slow
def test_disturbance_that_moves_nothing_costs_nothing() -> None:
    """A fifth of all samples waits for a processor, in all variants alike."""
    undecided, misses = verdict_errors.lost(replace(World(), preempted=0.2), 150)
    assert undecided <= 0.1
    assert misses <= 0.1


# --- families


def test_capacities_are_judged_apart_from_the_matched_baselines() -> None:
    """Of nine variants at a place: four capacities, four matched baselines, and four pairs of equal cost."""
    plan = verdict_errors.planned()
    for comparison in plan.comparisons:
        base = comparison.variants[0]
        found = grouped(
            (among, (case, other))
            for case, other, among in comparisons.pairs(comparison, base, plan.matched_baselines)
            if other is base or among == "equal cost"
        )
        assert {among: len(these) for among, these in found.items()} == {"matched": 4, "variants": 4, "equal cost": 4}
        assert {case.matched for case, _ in found["variants"]} == {False}
        beside = {(matched.target, matched.variant) for matched in plan.matched_baselines}
        assert {(case.variant, other.variant) for case, other in found["equal cost"]} == beside


@pytest.mark.slow
@pytest.mark.parametrize("side", ["same shape", "matched"])
def test_where_no_capacity_differs_a_place_has_a_mark_in_one_of_twenty(side: verdict_errors.Side) -> None:
    """By Benjamini-Hochberg among all variants it was 0.12 and 0.17; `benchmarks/verdict_errors.py` has the table."""
    maps, lengths = 100, 4
    found = verdict_errors.false_marks(side, verdict_errors.KINDS["loss, 5 seeds"], maps)
    assert found.points <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / (maps * lengths))
    assert found.more <= 0.05
