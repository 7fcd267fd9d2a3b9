"""What reports say of a trend: where which arm is better, the slope, the forecast, what is lacking."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import left
from present import present
from test_trend import BUDGETS, followed, over, planted_losses

from modbench.harness.stats.joint_fit import Estimate as Fitted
from modbench.harness.stats.trend import Trend
from modbench.reports.questions import first_screen, trend
from modbench.reports.tables.load import Loaded, load
from modbench.reports.writers.number_format import plain


def planted(
    tmp_path: Path, slope: float, level: float = 0.0, *, changes: dict[str, Any] | None = None, **how: Any
) -> Loaded:
    """A run in which MoD differs from dense by `level` at the middle budget, and by `slope` more with every e-fold."""
    made = followed(**(changes or {}))
    how = {"run_noise": 0.002, "text_noise": 0.001} | how
    return load(str(left(tmp_path, made, losses=planted_losses(made, slope, level), **how)))


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """MoD is better at the smallest budget, and worse at the largest."""
    return planted(tmp_path_factory.mktemp("trend"), slope=0.05)


def found(loaded: Loaded) -> Trend:
    """What the only arm's trend is."""
    (answer,) = trend.answers(loaded)
    return present(answer.trend)


def test_the_planted_slope_and_crossing_are_found(crossing: Loaded) -> None:
    made = found(crossing)
    slope, outcome = present(made.slope), made.crossing()
    assert slope.value == pytest.approx(0.05, abs=0.005)
    assert made.has_text
    assert outcome.outcome == "both ends"
    assert outcome.flops == pytest.approx(BUDGETS[1], rel=0.1)
    assert [each.seeds for each in made.budgets] == [5, 4, 3]


def test_seeds_of_which_a_run_failed_are_left_out_and_named(crossing: Loaded, tmp_path: Path) -> None:
    ((first, *_),) = [answer.rows for answer in trend.answers(crossing)]
    lost = planted(tmp_path, 0.05, fails=first.mine[0].arm)
    (answer,) = trend.answers(lost)
    assert (answer.rows[0].seeds, answer.rows[0].reason, answer.trend) == (0, "planted failure", None)
    assert "planted failure" in plain(first_screen.answer(lost)[0])


def test_without_losses_of_blocks_the_text_is_in_no_interval_and_said(tmp_path: Path) -> None:
    loaded = planted(tmp_path, 0.05, text_noise=None)
    assert not found(loaded).has_text
    assert "is in no interval" in " ".join(map(plain, trend.doubts(loaded)))


def test_a_budget_alone_has_a_difference_and_no_trend(tmp_path: Path) -> None:
    sweep: Any = followed().suite.isoflop
    one = {"budgets": [BUDGETS[0]], "sizes": [*sweep.sizes], "max_epochs": 1e9}
    loaded = planted(tmp_path, 0.05, 0.1, changes={"isoflop": one, "trend": {"seeds": 4}})
    (said,) = first_screen.answer(loaded)
    assert "a higher loss than dense" in plain(said)
    assert list(trend.table(loaded).quantity) == ["difference", "spread", "spread", "crossing"]


NOISE = (-0.02, 0.0, 0.02)


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((0.1, 0.0, -0.1), "has the lower loss above 4e12 ["),
        ((-0.1, -0.11, -0.12), "has a lower loss than dense at all budgets"),
        ((0.1, 0.11, 0.12), "has a higher loss than dense at all budgets"),
        ((-0.1, -0.05, 0.0), "a lower loss than dense from 1e12 up to 9.14e12 training FLOPs; above it cannot be told"),
        ((-0.1, -0.05, 0.0), "a higher loss was not shown at any budget."),
        ((0.0, 0.05, 0.1), "a higher loss than dense from 1.75e12 to 1.6e13 training FLOPs; below it cannot be told"),
        ((0.0, 0.05, 0.1), "a lower loss was not shown at any budget."),
        ((0.1, -0.1), "a lower loss than dense at 4e12 and a higher loss than dense at 1e12 training FLOPs."),
        ((-0.2, 0.3, -0.1), "follows no straight line"),
        ((-0.005, 0.0, 0.005), "cannot be told which"),
        (
            (-0.005, -0.03, -0.005),
            "a lower loss than dense at 4e12 training FLOPs; at 1e12 and 1.6e13 it cannot be told.",
        ),
    ],
)
def test_every_outcome_has_its_words(differences: Any, words: str) -> None:
    answer: Any = SimpleNamespace(name="MoD", base="dense")
    assert words in plain(trend._where(answer, over(differences, NOISE)))


def test_where_the_line_tells_nothing_budgets_may_tell_by_themselves() -> None:
    said = plain(trend._by_budget(over([-0.1, 0.0, 0.1], NOISE), {"arm": "MoD", "base": "dense"}))
    words = "MoD has a lower loss than dense at 1e12 and a higher loss than dense at 1.6e13 training FLOPs; at 4e12 it"
    assert said == f"{words} cannot be told."


def test_a_crossing_beside_one_end_says_which_budget_shows_the_other_sign() -> None:
    answer: Any = SimpleNamespace(name="MoD", base="dense")
    few, many = (-0.03, 0.0, 0.03), [-0.03, 0.0, 0.03] * 12
    said = plain(trend._where(answer, over((-0.012, 0.03, 0.06), many, few, few)))
    words = "MoD has a higher loss than dense from 2.3e12 to 1.6e13 training FLOPs, and a lower one at 1e12"
    assert said == f"{words}; between them it cannot be told."


def test_a_budget_that_many_seeds_place_off_the_line_is_named() -> None:
    answer: Any = SimpleNamespace(name="MoD", base="dense")
    few, many = (-0.024, 0.0, 0.024), [-0.024, 0.0, 0.024] * 18
    said = plain(trend._where(answer, over((-0.047, 0.0095, 0.016, 0.036), few, many, few, few)))
    assert said == (
        "From 1e12 to 6.4e13 training FLOPs the difference of MoD and dense follows no straight line: at 4e12 it is +0.010 "
        "[+0.004, +0.015] with 54 seeds, and the line through the other budgets is at -0.017."
    )


def test_off_the_line_there_is_neither_crossing_nor_forecast_in_any_output(
    crossing: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trend, "off_line", (1, Fitted(0.03, 0.01, 0.05, 0.006)))
    table = trend.table(crossing)
    assert list(table.query("quantity == 'difference'").outcome.notna()) == [False, True, False]
    assert table[table.budget == BUDGETS[1]].outcome.iloc[0] == "off the line"
    (row,) = table.query("quantity == 'crossing'").to_dict("records")
    assert (row["outcome"], math.isnan(row["value"])) == ("cannot tell", True)
    assert "forecast" not in set(table.quantity)
    said = " ".join(map(plain, first_screen.answer(crossing)))
    assert "no straight line: at 2e10" in said
    assert "Forecast" not in said
    assert "has the lower loss" not in said


def test_two_budgets_give_no_crossing_in_any_output(tmp_path: Path) -> None:
    sweep: Any = followed().suite.isoflop
    two = {"budgets": [*BUDGETS[:2]], "sizes": [*sweep.sizes], "max_epochs": 1e9}
    loaded = planted(tmp_path, 0.05, 0.02, changes={"isoflop": two, "trend": {"seeds": 4, "forecast": 8e10}})
    (row,) = trend.table(loaded).query("quantity == 'crossing'").to_dict("records")
    assert row["outcome"] == "cannot tell"
    assert all(math.isnan(row[key]) for key in ("value", "ci_low", "ci_high"))
    said = " ".join(map(plain, first_screen.answer(loaded)))
    assert "higher loss than dense" in said
    doubts = " ".join(map(plain, trend.doubts(loaded)))
    assert "no crossing is given" in doubts


def test_unequal_spreads_are_said_and_stand_in_the_table(crossing: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def spread() -> list[Any]:
        return trend.table(crossing).query("quantity == 'spread'").to_dict("records")

    assert "Bartlett" not in " ".join(map(plain, trend.doubts(crossing)))
    made = found(crossing)
    assert [row["value"] for row in spread()] == pytest.approx([*made.spreads, made.spread])
    assert spread()[-1]["outcome"] == "pooled"
    monkeypatch.setattr("modbench.harness.stats.trend.UNEQUAL_LEVEL", 1.0)
    assert spread()[-1]["outcome"] == "differs"
    assert "Seeds spread differently" in " ".join(map(plain, trend.doubts(crossing)))
