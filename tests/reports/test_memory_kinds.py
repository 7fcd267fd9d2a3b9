"""Bytes by kind: what is known of a peak, the rest, and the difference from the forecast in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted import left, planted_suite

from modbench.reports.model import Sentence
from modbench.reports.panels import memory
from modbench.reports.panels.memory import Bar, stacked
from modbench.reports.tables.load import load
from modbench.reports.writers.number_format import plain


@pytest.mark.parametrize(
    ("kinds", "parts"),
    [
        (
            {"parameters": 10.0, "optimizer": 20.0, "activations": 30.0},
            {"parameters": 10.0, "optimizer": 20.0, "activations": 30.0, "gradients, workspace": 40.0},
        ),
        (
            {"parameters": 10.0, "optimizer": 20.0, "activations": None},
            {"parameters": 10.0, "optimizer": 20.0, "activations, gradients, workspace": 70.0},
        ),
        ({"parameters": 10.0, "optimizer": None, "activations": None}, {"parameters": 10.0, "everything else": 90.0}),
        # More than the whole: one of them is not what was weighed.
        ({"parameters": 10.0, "optimizer": 200.0, "activations": None}, {"everything else": 100.0}),
    ],
)
def test_kinds_add_up_to_what_was_measured(kinds: dict[str, float | None], parts: dict[str, float]) -> None:
    found = stacked(100.0, kinds)
    assert found == parts
    assert sum(found.values()) == 100.0


def test_nothing_is_divided_where_nothing_is_known() -> None:
    assert stacked(None, {"parameters": 1.0}) == {}


@pytest.mark.parametrize(
    ("forecast", "said"),
    [(100.5, "as forecast"), (80.0, "25 % over forecast"), (125.0, "20 % under forecast"), (0, "no forecast")],
)
def test_the_difference_in_words(forecast: float, said: str) -> None:
    made = planted_suite("draft", metrics=["memory/peak_allocated"], train=None)
    bar = Bar(made.cases[0], {"parameters": 100.0}, {"parameters": forecast} if forecast else {})
    assert plain(bar.against_forecast) == said


def test_measured_beside_forecast(tmp_path: Path) -> None:
    """Planted: of five arms the peaks are 1 to 5 MB, the forecasts 1, 3, 5, 7 and 9 MB; the last two hold their parameters."""
    left(
        tmp_path,
        planted_suite("draft", metrics=["memory/peak_allocated"], train=None, shape={"d_model": 64, "n_layers": 2}),
    )
    loaded = load(tmp_path / "run")
    (drawn,) = memory.render(loaded)
    assert isinstance(drawn.caption, Sentence)
    assert (plain(drawn.caption.given["close"]), drawn.caption.given["met"], drawn.caption.given["all"]) == (
        "1 %",
        1,
        5,
    )
    totals = drawn.data.groupby("arm", sort=False).measured_B.sum()
    assert sorted(totals) == pytest.approx([1e6, 2e6, 3e6, 4e6, 5e6])
    params: Any = loaded.tables.counted(loaded.arms[0]).params
    mine = drawn.data[drawn.data.arm == "moe"].set_index("kind")
    assert mine.measured_B["parameters"] > 4 * params
    assert mine.measured_B["optimizer"] == 2 * mine.measured_B["parameters"]
    assert mine.forecast_B[memory.MORE_REST] - mine.measured_B[memory.MORE_REST] == pytest.approx(4e6)
    assert drawn.marks is not None
    assert any(mark.text.startswith("MoE, optimizer: ") for mark in drawn.marks.said)
