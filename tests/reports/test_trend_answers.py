"""What reports say of a trend: where which arm is better, the slope, the forecast, what is lacking."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from panels_of import drawn
from planted import left
from test_trend import BUDGETS, followed, over, planted_losses

from modbench.harness.stats.trend import Trend
from modbench.reports.page import render
from modbench.reports.panels.sweeps import TREND
from modbench.reports.questions import first_screen, trend
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import summary
from modbench.reports.writers.number_format import plain

pytestmark = pytest.mark.slow


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
    assert answer.trend is not None
    return answer.trend


def test_the_planted_slope_and_crossing_are_found(crossing: Loaded) -> None:
    made = found(crossing)
    slope, outcome = made.slope, made.crossing()
    assert slope is not None
    assert slope.value == pytest.approx(0.05, abs=0.005)
    assert made.has_text
    assert outcome.outcome == "both ends"
    assert outcome.flops == pytest.approx(BUDGETS[1], rel=0.1)
    assert [each.seeds for each in made.budgets] == [5, 4, 3]


def test_the_answer_says_where_which_arm_is_better(crossing: Loaded) -> None:
    first, slope, ahead = first_screen.answer(crossing)
    assert plain(first).startswith("MoD 0.25 has the lower loss below 2e10 [1.9")
    assert "falls behind dense" in plain(slope)
    assert ahead.given["difference"].value == pytest.approx(0.05 * math.log(4), abs=0.01)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("slope", "level", "words"),
    [
        pytest.param(-0.05, 0.0, "has the lower loss above 2", marks=pytest.mark.proof),  # "below" is above
        (0.0, -0.1, "has a lower loss than dense at all budgets"),
        pytest.param(0.02, 0.1, "has a higher loss than dense at all budgets", marks=pytest.mark.proof),
        (-0.01, 0.0, "cannot be told which"),
        pytest.param(
            0.05, -0.055 * math.log(2), "has a lower loss than dense from 1e10 up to", marks=pytest.mark.proof
        ),
        (0.05, 0.05 * math.log(2), "has a higher loss than dense from"),
    ],
)
def test_every_outcome_has_its_words(tmp_path: Path, slope: float, level: float, words: str) -> None:
    loaded = planted(tmp_path, slope, level, run_noise=0.01)
    assert words in plain(first_screen.answer(loaded)[0])


def test_the_table_has_every_budget_and_what_was_made_of_them(crossing: Loaded) -> None:
    rows = trend.table(crossing)
    assert list(rows.quantity) == [*["difference"] * 3, "slope", "bend", "crossing", "forecast"]
    assert list(rows.budget[:3]) == [*BUDGETS]
    assert list(rows.seeds[:3]) == [5, 4, 3]
    assert rows.loss[0] - rows.baseline_loss[0] == pytest.approx(rows.value[0])
    assert (rows.ci_low[:4] < rows.value[:4]).all()


def test_seeds_of_which_a_run_failed_are_left_out_and_named(tmp_path: Path) -> None:
    made = followed(trend={"seeds": 4})
    loaded = planted(tmp_path, 0.05, changes={"trend": {"seeds": 4}}, leave_out=None, fails="")
    (whole,) = trend.answers(loaded)
    assert {row.seeds for row in whole.rows} == {4}
    (side, *_) = [row.mine[0] for row in whole.rows]
    lost = load(str(left(tmp_path / "lost", made, losses=planted_losses(made, 0.05), run_noise=0.002, fails=side.arm)))
    (answer,) = trend.answers(lost)
    assert (answer.rows[0].seeds, answer.rows[0].reason, answer.trend) == (0, "planted failure", None)
    assert "planted failure" in plain(first_screen.answer(lost)[0])


def test_without_losses_of_blocks_the_text_is_in_no_interval_and_said(tmp_path: Path) -> None:
    loaded = planted(tmp_path, 0.05, text_noise=None)
    assert not found(loaded).has_text
    assert "error of the held-out text is in no interval" in " ".join(map(plain, trend.doubts(loaded)))


def test_a_budget_alone_has_a_difference_and_no_trend(tmp_path: Path) -> None:
    sweep: Any = followed().suite.isoflop
    one = {"budgets": [BUDGETS[0]], "sizes": [*sweep.sizes], "max_epochs": 1e9}
    loaded = planted(tmp_path, 0.05, 0.1, changes={"isoflop": one, "trend": {"seeds": 4}})
    (said,) = first_screen.answer(loaded)
    assert "MoD 0.25 has a higher loss than dense" in plain(said)
    assert list(trend.table(loaded).quantity) == ["difference", "crossing"]


@pytest.mark.usefixtures("undrawn")
def test_terminal_page_and_tables_show_it(crossing: Loaded) -> None:
    assert len(summary.closing(crossing, "report.html", None).splitlines()) <= 40
    assert [*drawn(TREND, crossing)]
    render.views(crossing, ["html", "json", "csv"])
    assert (crossing.path / "trend.csv").exists()
    assert json.loads((crossing.path / "report.json").read_text())
    assert "From which training budget" in (crossing.path / "report.html").read_text()


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([-0.02, -0.0505, -0.02], "a lower loss than dense at 4e12 training FLOPs; at 1e12 and 1.6e13"),
        (
            [-0.1, 0.0, 0.1],
            "a lower loss than dense at 1e12 and a higher loss than dense at 1.6e13 training FLOPs; at 4e12",
        ),
    ],
)
def test_where_the_line_tells_nothing_budgets_may_tell_by_themselves(differences: list[float], words: str) -> None:
    made = over(differences, noise_S=(-0.02, 0.0, 0.02))
    assert made.is_straight
    said = plain(trend._cannot_tell(made, {"arm": "MoD", "base": "dense"}))
    assert said == f"MoD has {words} it cannot be told."
