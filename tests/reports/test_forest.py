"""The figure of every speed-up with its interval: planted ratios, equal ones in one row, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from planted import left, planted_suite
from present import present

from modbench.reports.model import Estimate, Figure, Finding, Sentence
from modbench.reports.panels import forest
from modbench.reports.tables.load import load
from modbench.reports.writers.number_format import plain

# Planted (`planted.py`): MoD 0.5 and its copies are equal to dense, MoE is slower.
ARMS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}, {"model": "moe"}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    planned = planted_suite(
        "draft", metrics=["latency/forward"], arms=ARMS, grid={"seq_len": [64, 128]}, launches=4, rounds=5, train=None
    )
    left(folder, planned)
    return folder / "run"


@pytest.fixture(scope="module")
def drawn(run: Path) -> Sequence[Figure]:
    return forest.render(load(run))


def said(drawing: Figure) -> list[str]:
    return [mark.text for mark in present(drawing.marks).said]


def test_a_row_for_every_decided_ratio_and_one_for_those_that_are_equal(drawn: Sequence[Figure]) -> None:
    assert [drawing.name for drawing in drawn] == ["forest-forward"]
    forward = drawn[0]
    rows = said(forward)
    assert len(rows) == 4  # three arms at two lengths, two of them equivalent
    assert [row.partition(",")[0] for row in rows] == ["MoD 0.125"] * 2 + ["MoE"] * 2
    place, _, found = rows[0].partition(": ")
    assert place == "MoD 0.125, T = 64, B = 1"
    assert re.fullmatch(r"1\.[56]\d× \[1\.\d\d–1\.\d\d\] ▲ faster", found)
    assert all("▼ slower" in row for row in rows[2:])
    assert isinstance(forward.caption, Sentence)
    given = forward.caption.given
    assert (given["all"], plain(given["margin"])) == (6, "2 %")
    (axis,) = forward.figure.axes
    assert axis.get_yticklabels()[-1].get_text() == "2 equivalent"
    assert len(forward.data) == 6


def test_of_too_many_rows_slower_ones_stay_and_the_rest_is_counted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Finding("an arm", typical=Estimate(ratio, kind="ratio"), verdict=verdict)
        for ratio, verdict in (
            (2.0, "better"),
            (1.01, "better"),
            (0.97, "worse"),
            (0.5, "worse"),
            (1.3, "inconclusive"),
        )
    ]
    assert [row.typical.value for row in forest.most_informative(rows, 3)] == [2.0, 0.97, 0.5]
    assert forest.most_informative(rows, 5) == rows
    monkeypatch.setattr(forest, "MOST_ROWS", 3)
    few = forest.render(load(run))[0]
    assert len(said(few)) == 2
    assert isinstance(few.caption, Sentence)
    assert few.caption.given["left_out"] == 2
    assert "not drawn" in few.caption.words
