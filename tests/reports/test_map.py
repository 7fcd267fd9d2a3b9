"""Capacity × length: what pays where is as planted, in the answer, the table, the figure and `map.csv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from panels_of import drawn, shown
from planted import left, planted_suite
from planted_map import CAPACITIES, LENGTHS, METRICS, map_plan, map_run

from modbench.harness.core.contracts import Text
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.reports.figures.style import MAP
from modbench.reports.model import Finding
from modbench.reports.page import render
from modbench.reports.panels import map as panel
from modbench.reports.panels import speedup_map
from modbench.reports.questions import compare_axis
from modbench.reports.questions import map as capacity_map
from modbench.reports.questions.map import Map
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import summary
from modbench.reports.writers.number_format import percent, plain

LOW, HIGH = (f"mod[c{capacity}]" for capacity in CAPACITIES)
SHORT, LONG = LENGTHS


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(map_run(tmp_path_factory.mktemp("map")))


@pytest.fixture(scope="module")
def made(loaded: Loaded) -> Map:
    found = capacity_map.of(loaded)
    assert found is not None
    return found


def test_a_capacity_pays_where_it_was_planted_to(made: Map) -> None:
    """At 128 the lower capacity is faster than dense of equal cost and ends below it; all else is slower, with equal losses."""
    standings = {(case.arm, length): made.standing(case, length) for case in made.arms for length in made.lengths}
    assert standings == {(LOW, SHORT): "dense", (LOW, LONG): "pays", (HIGH, SHORT): "dense", (HIGH, LONG): "dense"}
    pays: Any = next(iter(capacity_map.answer(made.loaded)))
    assert (pays.given["n"], pays.given["all"]) == (1, 4)
    assert plain(pays.given["parts"]) == f"at T = {SHORT} none; at T = {LONG} MoD {CAPACITIES[0]}"


def test_the_reading_names_the_margin_of_a_loss() -> None:
    assert f"within {percent(capacity_map.LOSS_MARGIN)} of it" in panel.READING


def test_one_row_for_each_capacity_and_length(made: Map, tmp_path: Path) -> None:
    render.views(made.loaded, ["csv"], tmp_path)
    rows, pairs = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("map", "comparisons"))
    assert [*zip(rows.capacity, rows.seq_len, strict=True)] == [(c, t) for c in CAPACITIES for t in LENGTHS]
    assert rows.at_equal_cost.tolist() == ["dense", "pays", "dense", "dense"]
    for metric in METRICS:
        key, what = metric.replace("/", "_"), "difference" if metric.startswith("loss") else "ratio"
        for _, row in rows.iterrows():
            there = pairs[(pairs.metric == metric) & (pairs.arm == row.arm) & (pairs.seq_len == row.seq_len)]
            (pair,) = there[there.baseline_arm == "dense"].to_dict("records")
            assert row[f"{key}_{what}"] == pytest.approx(pair[what])
            assert row[f"{key}_verdict"] == pair["verdict"]
        assert rows[f"{key}_at_equal_cost_{what}"].notna().all()


def test_every_cell_has_a_value_or_a_reason(tmp_path: Path) -> None:
    """A unit without a record, and one that failed."""
    plan = map_plan()
    left_out = next(unit.name for unit in plan.units if unit.made_in == "train" and unit.comparison.arms[0].arm == HIGH)
    loaded = load(map_run(tmp_path, plan, leave_out=left_out, fails=LOW))
    found: Any = capacity_map.of(loaded)
    cells = [
        found.cell(case, length, quantity, equal_cost=equal_cost)
        for case in found.arms
        for length in found.lengths
        for quantity in found.quantities
        for equal_cost in (False, True)
    ]
    assert {each.status for each in cells} == {"ok", "failed", "skipped"}
    assert all(each.reason for each in cells if each.typical.value is None)
    rows = capacity_map.table(loaded)
    assert rows[rows.arm == LOW].latency_forward_reason.notna().all()
    assert "failed" in shown(panel, loaded)


def test_seeds_are_advised_for_losses_that_are_open_alone(tmp_path: Path) -> None:
    """Without noise to speak of, losses that are not told apart lie within the margin; with it they are open."""
    for noise, advised in ((0.002, False), (0.03, True)):
        (tmp_path / str(noise)).mkdir()
        made = capacity_map.of(load(map_run(tmp_path / str(noise), run_noise=noise)))
        assert made is not None
        (cells,) = [made.row(case, made.loss, equal_cost=True) for case in made.arms if case.arm == HIGH]
        assert {each.verdict for each in cells} == {"inconclusive"}
        assert [made.needed(each) is not None for each in cells] == [advised] * len(LENGTHS)
        assert ("seeds needed" in {each.label for each in capacity_map.full_tables(made)}) == advised


def test_a_reason_says_which_dense_model_it_is_about(tmp_path: Path) -> None:
    reasons = capacity_map.table(load(map_run(tmp_path, run_noise=0.03))).loss_val_reason
    assert all(said.count("seeds would") == 2 and said.count("at equal cost: ") == 1 for said in reasons)


def test_the_figure_has_four_maps_with_one_scale(made: Map) -> None:
    """Better is above the middle of the palette in every map, worse below it; marks say the same without colours."""
    over_shape, over_cost = drawn(panel, made.loaded)
    assert (over_shape.name, over_cost.name) == ("map", "map-cost")
    for drawing in (over_shape, over_cost):
        axes = drawing.figure.axes
        assert len(axes) == len(panel.four(made)) == 4
        for axis, quantity in zip(axes, panel.four(made), strict=True):
            (cells,) = axis.collections
            bins = np.asarray(cells.get_array()).reshape(len(made.arms), len(made.lengths))
            rows = [made.row(case, quantity, equal_cost=drawing is over_cost) for case in made.arms]
            glyphs = [text.get_text()[:1] for text in axis.texts if text.get_text()[:1] in "▲▼≈?"]
            for found, shade, glyph in zip(
                (each for row in rows for each in row), map(int, bins.flat), glyphs, strict=True
            ):
                sign = {"better": 1, "worse": -1}.get(found.verdict or "", 0)
                assert (shade > len(MAP) // 2) - (shade < len(MAP) // 2) in {sign, 0}
                assert glyph == {1: "▲", -1: "▼"}.get(sign, glyph)
        assert len(drawing.data) == 4 * len(made.arms) * len(made.lengths)
        assert drawing.marks is not None
        assert len(drawing.marks.said) == len(drawing.data)
    assert render.named(made.loaded, "map").label == over_shape.label
    assert {each.name for each in drawn(speedup_map, made.loaded)} == {"speedup", "speedup-cost"}


def test_there_is_no_map_of_one_length_of_losses_or_one_capacity(tmp_path: Path) -> None:
    for name, plan in {
        "one length": planted_suite("draft", launches=3, rounds=2),
        "one capacity": map_plan(arms=[{"model": "dense"}, {"model": "mod", "capacity": 0.125}]),
    }.items():
        (tmp_path / name).mkdir()
        other = load(left(tmp_path / name, plan))
        assert capacity_map.of(other) is None
        assert shown(panel, other) == ""
        assert capacity_map.table(other).empty
        assert list(capacity_map.answer(other)) == []
        assert capacity_map.in_place(other) is None
        assert render.named(other, "map").name in {each.name for each in drawn(speedup_map, other)}


def test_arms_without_a_dense_model_of_equal_cost_are_compared_with_the_same_shape_alone(tmp_path: Path) -> None:
    rung = {"model": "dense", "match": {"arm": "mod", "capacity": CAPACITIES[0]}}
    arms = [{"model": "dense"}, rung, {"model": "mod", "capacity": [*CAPACITIES]}]
    made: Any = capacity_map.of(load(map_run(tmp_path, map_plan(arms=arms))))
    pays: Any = next(iter(capacity_map.answer(made.loaded)))
    assert pays.given["all"] == len(LENGTHS)
    rows = capacity_map.table(made.loaded)
    assert rows.at_equal_cost.isna().tolist() == [False, False, True, True]
    over_shape, over_cost = drawn(panel, made.loaded)
    assert (over_shape.data.arm.nunique(), over_cost.data.arm.nunique()) == (2, 1)


def test_a_smoke_run_claims_nothing(tmp_path: Path) -> None:
    loaded = load(map_run(tmp_path, map_plan(effort="smoke")))
    made: Any = capacity_map.of(loaded)
    (said,) = capacity_map.answer(loaded)
    assert plain(said).endswith("without a verdict.")
    assert {made.standing(case, length) for case in made.arms for length in made.lengths} == {"open"}


def test_other_values_stand_beside_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has a mark over the same shape and one at equal cost in each cell, and fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    text = summary.closing(
        load(map_run(tmp_path, map_plan(metrics=[*METRICS, "memory/parameters"]))), "report.html", 1.0
    )
    assert "memory/parameters" in text
    assert max(map(len, text.splitlines())) <= 80
    forward = next(line for line in text.splitlines() if line.startswith("forward "))
    assert [cell[-2:] for cell in forward.split()[-2:]] == ["▲▼", "▲▲"]


@pytest.mark.proof  # of a small map see test_other_values_stand_beside_the_map
def test_the_shipped_suite_fits_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty lines of eighty characters, with every time, the loss, and what was counted."""
    monkeypatch.setenv("COLUMNS", "80")
    text = Text("t", b"some words " * 50_000, b"other words " * 9500, "c0ffee")
    made = make_plan(override(load_suite("map"), Overrides(settings={"launches": 5})), device="cpu", text=text)
    lines = summary.closing(load(map_run(tmp_path, made)), "report.html", 1.0).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(("forward", "train step", "decode step", "loss ")) for line in lines) == 4
    forward, loss = (next(line for line in lines if line.startswith(word)) for word in ("forward ", "loss "))
    assert [cell[-2:] for cell in forward.split()[-4:]] == [
        "▲▼",
        "▲▼",
        "▲▼",
        "▲▲",
    ]  # over the same shape, at equal cost
    assert loss.split()[-1].endswith("▲▲")


def test_compare_by_capacity_has_the_losses_at_every_length(loaded: Loaded) -> None:
    table = compare_axis.compare_by(loaded, "capacity")
    at = [dict(column.heading)["seq_len"] for column in table.columns if column.metric.key == "loss/val_causal"]
    assert at == [*LENGTHS]
    (grid,) = compare_axis.grids(loaded, table, [c for c in table.columns if c.metric.key == "loss/val_causal"])
    cells = [cell for row in grid.table.rows for cell in row[2:] if isinstance(cell, Finding) and cell.against]
    assert len(cells) == len(CAPACITIES) * len(LENGTHS)
