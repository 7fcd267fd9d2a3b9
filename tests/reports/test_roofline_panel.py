"""Calls under the machine's roof: bytes by hand, the roof of a planted machine, and no panel where none was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import left, planted_suite
from planted_peaks import planted

from modbench.harness.roofline.table import Point
from modbench.harness.roofline.work import Listed, Work
from modbench.reports.figures.style import new_figure
from modbench.reports.panels import roofline as panel
from modbench.reports.panels.roofline import Roof, bytes_of, roof_of
from modbench.reports.tables.load import load

CALL = Listed(
    work=(
        Work(kind="product", size=(2, 3, 5, 7), calls=2),  # two pairs of 3 x 5 and 5 x 7
        Work(kind="attention", size=(4, 8, 16, 32)),  # queries, results: 8 rows; keys, values: 16
        Work(kind="causal_attention", size=(4, 64, 32)),  # 8 of each
        Work(kind="pointwise", size=(1000,), calls=3),
        Work(kind="optimizer", size=(500, 4)),
        Work(kind="view", calls=9),
    )
)


def test_bytes_by_hand() -> None:
    product = 2 * 2 * (3 * 5 + 5 * 7 + 3 * 7)
    attention = 4 * 32 * (2 * 8 + 2 * 16) + 4 * 32 * (4 * 8)
    assert bytes_of(CALL, 4) == 4 * (product + attention) + 3000 + 500


def test_the_roof_is_the_fastest_long_product_and_the_largest_copy() -> None:
    """A product of one multiply-add is timed too shortly to be a peak."""
    table = planted(flop=1e9, byte=2e9)
    short = Point(kind="product", size=(2, 2, 2), seconds=1e-12)
    found: Any = roof_of(table.model_copy(update={"points": (*table.points, short)}))
    assert found.flop_per_s == pytest.approx(2e9)
    assert found.bytes_per_s == pytest.approx(2e9)
    assert roof_of(table.model_copy(update={"points": ()})) is None
    roof = Roof(100.0, 10.0)
    assert [roof.at(intensity) for intensity in (1, 10, 1000)] == [10, 100, 100]


def test_a_call_above_the_measured_roof_lies_within_the_axes() -> None:
    """Peaks may have been measured while the machine was slow. A mark that is not drawn would end the page."""
    calls = pd.DataFrame({"intensity": [2.0, 2.0], "flop_per_s": [1e8, 1e12]})
    _, axes = new_figure(5.2, 3.4, 1)
    panel._ends(axes, calls, Roof(1e11, 1e10))
    bottom, top = axes[0].get_ylim()
    assert bottom < 1e8
    assert top > 1e12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roofline")
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.5]}]
    made = planted_suite(
        "draft", metrics=["latency/forward"], arms=arms, grid={"seq_len": [64]}, launches=3, rounds=3, train=None
    )
    left(folder, made)
    return folder / "run"


def test_no_panel_where_operators_were_not_recorded(run: Path) -> None:
    loaded = load(run)
    loaded.tables.rooflines["fp32"] = planted()
    assert panel.render(loaded) == []
