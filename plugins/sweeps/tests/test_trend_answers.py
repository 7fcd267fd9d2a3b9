"""What reports say of a trend: where which variant is better, the slope, the forecast, what is lacking."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted_sweeps import BUDGETS, FOUR_SIZES, followed, losses_along, over
from present import present

from modbench.extend import planted_run
from modbench.plugins.sweeps.joint_fit import Estimate as Fitted
from modbench.plugins.sweeps.trend import question as trend
from modbench.plugins.sweeps.trend.statistics import Trend
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary
from modbench.reports.tables.load import Loaded, load


def planted(tmp_path: Path, level: float = 0.0, *, changes: dict[str, Any] | None = None, **how: Any) -> Loaded:
    """A run in which MoD differs from dense by `level` at the middle budget, and by 0.05 more with every e-fold."""
    made = followed(**(changes or {}))
    how = {"run_noise": 0.002, "text_noise": 0.001} | how
    return load(str(planted_run(tmp_path, made, losses=losses_along(made, 0.05, level), **how)))


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """MoD is better at the smallest budget, and worse at the largest."""
    return planted(tmp_path_factory.mktemp("trend"))


def found(loaded: Loaded) -> Trend:
    """What the only variant's trend is."""
    (answer,) = trend.answers(loaded)
    return present(answer.trend)


def rows_of(loaded: Loaded, quantity: str) -> list[Any]:
    """The rows of trend.csv about a quantity."""
    table = trend.TABLE.frame(loaded)
    return [*table[table.quantity == quantity].itertuples()]


def doubted(loaded: Loaded) -> str:
    return " ".join(map(plain, trend.doubts(loaded)))


def test_the_planted_slope_and_crossing_are_found(crossing: Loaded) -> None:
    made = found(crossing)
    assert present(made.slope).value == pytest.approx(0.05, abs=0.005)
    assert made.has_text
    assert made.crossing().outcome == "both ends"
    assert made.crossing().flops == pytest.approx(BUDGETS[1], rel=0.1)
    assert [each.seeds for each in made.budgets] == [5, 4, 3]


# --- what is lacking


def test_seeds_of_which_a_run_failed_are_left_out_and_named(crossing: Loaded, tmp_path: Path) -> None:
    (whole,) = trend.answers(crossing)
    lost = planted(tmp_path, fails=whole.rows[0].mine[0].variant)
    (answer,) = trend.answers(lost)
    assert (answer.rows[0].seeds, answer.trend) == (0, None)
    for said in (str(answer.rows[0].reason), plain(summary.answer(lost)[0])):
        assert "planted failure" in said


def test_without_losses_of_blocks_the_text_is_in_no_interval_and_said(tmp_path: Path) -> None:
    loaded = planted(tmp_path, text_noise=None)
    assert not found(loaded).has_text
    assert "no CI holds" in doubted(loaded)


@pytest.mark.parametrize(("budgets", "said"), [(1, "dense"), (2, "inconclusive")])
def test_one_budget_and_two_have_no_crossing_in_any_output(tmp_path: Path, budgets: int, said: str) -> None:
    """Of one there is a difference; through two goes every line."""
    isoflop = {"train_flops": [*BUDGETS[:budgets]], "sizes": FOUR_SIZES, "max_epochs": 1e9}
    loaded = planted(tmp_path, 0.1, changes={"isoflop": isoflop, "trend": {"seeds": 4, "forecast": 8e10}})
    (row,) = rows_of(loaded, "crossing")
    assert row.outcome == "inconclusive"
    assert all(map(math.isnan, (row.value, row.ci_low, row.ci_high)))
    assert said in plain(summary.answer(loaded)[0])
    assert ("no break-even" in doubted(loaded)) is (budgets == 2)


def test_off_the_line_there_is_neither_crossing_nor_forecast_in_any_output(
    crossing: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trend, "off_line", (1, Fitted(0.03, 0.01, 0.05, 0.006)))
    off = [(row.train_flops, row.outcome) for row in rows_of(crossing, "difference") if isinstance(row.outcome, str)]
    assert off == [(BUDGETS[1], "off the line")]
    (row,) = rows_of(crossing, "crossing")
    assert (row.outcome, math.isnan(row.value)) == ("inconclusive", True)
    assert not rows_of(crossing, "forecast")
    (said,) = summary.answer(crossing)
    assert "no straight line" in plain(said)


def test_unequal_spreads_are_said_and_stand_in_the_table(crossing: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    made = found(crossing)
    assert [row.value for row in rows_of(crossing, "spread")] == pytest.approx([*made.spreads, made.spread])
    for level, outcome in ((0.0, "pooled"), (1.0, "differs")):
        monkeypatch.setattr("modbench.plugins.sweeps.trend.statistics.UNEQUAL_LEVEL", level)
        assert rows_of(crossing, "spread")[-1].outcome == outcome
        assert ("standard deviations differ" in doubted(crossing)) is (outcome == "differs")


# --- in words

NOISE, FEW, MANY = (-0.02, 0.0, 0.02), (-0.03, 0.0, 0.03), (-0.03, 0.0, 0.03) * 12


@pytest.mark.parametrize(
    ("differences", "noises", "outcome", "given"),
    [
        ((0.1, 0.0, -0.1), (), "both ends", {"better": "dense", "other": "MoD"}),
        ((-0.1, 0.0, 0.1), (), "both ends", {"better": "MoD", "other": "dense"}),
        ((-0.1, -0.11, -0.12), (), "none", {"better": "MoD", "start": "1.00 TFLOP", "end": "16.0 TFLOP"}),
        ((-0.1, -0.05, 0.0), (), "one sign", {"better": "MoD", "start": "1.00 TFLOP", "end": "9.14 TFLOP"}),
        ((0.0, 0.05, 0.1), (), "one sign", {"better": "dense", "start": "1.75 TFLOP", "end": "16.0 TFLOP"}),
        # It ends where the line knows no sign.
        ((-0.012, 0.03, 0.06), (MANY, FEW, FEW), "one end", {"better": "dense", "start": "2.30 TFLOP"}),
        ((0.1, -0.1), (), "inconclusive", {"first": "1.00 TFLOP", "last": "4.00 TFLOP"}),
        ((0.0,), (), "inconclusive", {}),
        ((-0.2, 0.3, -0.1), (), "not straight", {}),
    ],
)
def test_every_outcome_has_its_words(differences: Any, noises: Any, outcome: str, given: dict[str, str]) -> None:
    answer: Any = SimpleNamespace(name="MoD", base="dense")
    said = trend.where(answer, over(differences, *(noises or [NOISE])))
    assert said.words == trend.WORDS[outcome]
    assert {key: plain(said.given[key]) for key in given} == given
