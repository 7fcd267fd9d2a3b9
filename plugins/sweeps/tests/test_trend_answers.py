"""What reports say of a trend: where which variant is better, the slope, the forecast, what is lacking."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted_sweeps import BUDGETS, FOUR_SIZES, followed, losses_along
from present import present
from test_trend import over

from modbench.extend import planted_run
from modbench.plugins.sweeps.joint_fit import Estimate as Fitted
from modbench.plugins.sweeps.trend import question as trend
from modbench.plugins.sweeps.trend.statistics import Trend
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary
from modbench.reports.tables.load import Loaded, load


def planted(
    tmp_path: Path, slope: float, level: float = 0.0, *, changes: dict[str, Any] | None = None, **how: Any
) -> Loaded:
    """A run in which MoD differs from dense by `level` at the middle budget, and by `slope` more with every e-fold."""
    made = followed(**(changes or {}))
    how = {"run_noise": 0.002, "text_noise": 0.001} | how
    return load(str(planted_run(tmp_path, made, losses=losses_along(made, slope, level), **how)))


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """MoD is better at the smallest budget, and worse at the largest."""
    return planted(tmp_path_factory.mktemp("trend"), slope=0.05)


def found(loaded: Loaded) -> Trend:
    """What the only variant's trend is."""
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
    lost = planted(tmp_path, 0.05, fails=first.mine[0].variant)
    (answer,) = trend.answers(lost)
    assert (answer.rows[0].seeds, answer.trend) == (0, None)
    assert "planted failure" in str(answer.rows[0].reason)
    assert "planted failure" in plain(summary.answer(lost)[0])


def test_without_losses_of_blocks_the_text_is_in_no_interval_and_said(tmp_path: Path) -> None:
    loaded = planted(tmp_path, 0.05, text_noise=None)
    assert not found(loaded).has_text
    assert "no CI holds" in " ".join(map(plain, trend.doubts(loaded)))


@pytest.mark.parametrize(("budgets", "said"), [(1, "dense"), (2, "inconclusive")])
def test_one_budget_and_two_have_no_crossing_in_any_output(tmp_path: Path, budgets: int, said: str) -> None:
    """Of one there is a difference; through two goes every line."""
    isoflop = {"train_flops": [*BUDGETS[:budgets]], "sizes": FOUR_SIZES, "max_epochs": 1e9}
    loaded = planted(tmp_path, 0.05, 0.1, changes={"isoflop": isoflop, "trend": {"seeds": 4, "forecast": 8e10}})
    (row,) = trend.TABLE.frame(loaded).query("quantity == 'crossing'").to_dict("records")
    assert row["outcome"] == "inconclusive"
    assert all(math.isnan(row[key]) for key in ("value", "ci_low", "ci_high"))
    assert said in plain(summary.answer(loaded)[0])
    assert any("no break-even" in plain(each) for each in trend.doubts(loaded)) is (budgets == 2)


NOISE = (-0.02, 0.0, 0.02)


@pytest.mark.parametrize(
    ("differences", "outcome", "given"),
    [
        ((0.1, 0.0, -0.1), "both ends", {"better": "dense", "other": "MoD"}),
        ((-0.1, 0.0, 0.1), "both ends", {"better": "MoD", "other": "dense"}),
        ((-0.1, -0.11, -0.12), "none", {"better": "MoD", "start": "1.00 TFLOP", "end": "16.0 TFLOP"}),
        ((0.1, 0.11, 0.12), "none", {"better": "dense"}),
        ((-0.1, -0.05, 0.0), "one sign", {"better": "MoD", "start": "1.00 TFLOP", "end": "9.14 TFLOP"}),
        ((0.0, 0.05, 0.1), "one sign", {"better": "dense", "start": "1.75 TFLOP", "end": "16.0 TFLOP"}),
        ((0.1, -0.1), "inconclusive", {"first": "1.00 TFLOP", "last": "4.00 TFLOP"}),
        ((0.1,), "none", {"better": "dense"}),
        ((0.0,), "inconclusive", {}),
        ((-0.2, 0.3, -0.1), "not straight", {}),
        ((-0.005, 0.0, 0.005), "inconclusive", {}),
    ],
)
def test_every_outcome_has_its_words(differences: Any, outcome: str, given: dict[str, str]) -> None:
    answer: Any = SimpleNamespace(name="MoD", base="dense")
    said = trend.where(answer, over(differences, NOISE))
    assert said.words == trend.WORDS[outcome]
    assert {key: plain(said.given[key]) for key in given} == given


def test_a_crossing_beside_one_end_ends_where_the_line_knows_no_sign() -> None:
    answer: Any = SimpleNamespace(name="MoD", base="dense")
    few, many = (-0.03, 0.0, 0.03), [-0.03, 0.0, 0.03] * 12
    said = trend.where(answer, over((-0.012, 0.03, 0.06), many, few, few))
    assert said.words == trend.WORDS["one end"]
    assert [plain(said.given[key]) for key in ("better", "start", "end")] == ["dense", "2.30 TFLOP", "16.0 TFLOP"]


def test_what_must_be_known_of_a_budget_stands_in_its_row(crossing: Loaded) -> None:
    (answer,) = trend.answers(crossing)

    def remarks(**changes: Any) -> list[str]:
        made = replace(answer, **changes)
        return [str(row[-1]) for row in trend.table(crossing, made).rows[: len(answer.rows)]]

    assert remarks() == ["", "", ""]
    assert remarks(explored=BUDGETS[1]) == ["", "", "size not explored"]
    far = [replace(answer.rows[0], near=False), *answer.rows[1:]]
    assert remarks(rows=far) == ["extrapolated", "", ""]
    few = replace(answer, rows=[replace(answer.rows[0], planned=6), *answer.rows[1:]])
    assert plain(trend.table(crossing, few).rows[0][2]) == "5 of 6"


def test_off_the_line_there_is_neither_crossing_nor_forecast_in_any_output(
    crossing: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trend, "off_line", (1, Fitted(0.03, 0.01, 0.05, 0.006)))
    table = trend.TABLE.frame(crossing)
    assert list(table.query("quantity == 'difference'").outcome.notna()) == [False, True, False]
    assert table[table.train_flops == BUDGETS[1]].outcome.iloc[0] == "off the line"
    (row,) = table.query("quantity == 'crossing'").to_dict("records")
    assert (row["outcome"], math.isnan(row["value"])) == ("inconclusive", True)
    assert "forecast" not in set(table.quantity)
    (said,) = summary.answer(crossing)
    assert "no straight line" in plain(said)
    (answer,) = trend.answers(crossing)
    rows = [[*map(plain, row)] for row in trend.table(crossing, answer).rows]
    assert [row[-1] for row in rows if row[0] == "20.0 GFLOP"] == ["off the line"]
    assert [row[1] for row in rows if row[0] == "break-even"] == ["\N{EN DASH}"]
    assert not any(row[0].startswith("forecast") for row in rows)


def test_unequal_spreads_are_said_and_stand_in_the_table(crossing: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def spread() -> list[Any]:
        found: list[Any] = trend.TABLE.frame(crossing).query("quantity == 'spread'").to_dict("records")
        return found

    assert "standard deviations differ" not in " ".join(map(plain, trend.doubts(crossing)))
    made = found(crossing)
    assert [row["value"] for row in spread()] == pytest.approx([*made.spreads, made.spread])
    assert spread()[-1]["outcome"] == "pooled"
    monkeypatch.setattr("modbench.plugins.sweeps.trend.statistics.UNEQUAL_LEVEL", 1.0)
    assert spread()[-1]["outcome"] == "differs"
    assert "standard deviations differ" in " ".join(map(plain, trend.doubts(crossing)))
