"""Capacity × length: what pays where is as planted, in the answer, the table, the figure and `map.csv`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_map import CAPACITIES, LENGTHS, map_plan, map_run
from present import present
from sections_of import drawn, shown

from modbench.extend import planted_plan, planted_run
from modbench.plugins.map import question as capacity_map
from modbench.plugins.map import section
from modbench.reports.blocks import Sentence
from modbench.reports.figures.style import MAP
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.sections import speedup_map
from modbench.reports.tables.load import Loaded, load

LOW, HIGH = (f"mod[c{capacity}]" for capacity in CAPACITIES)
SHORT, LONG = LENGTHS


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(map_run(tmp_path_factory.mktemp("map")))


def test_a_capacity_pays_where_it_was_planted_to(loaded: Loaded) -> None:
    """At 128 the lower capacity is faster than the matched baseline and ends below it; all else is slower, with equal losses."""
    standings = {(spot.case.variant, spot.length): spot.standing for spot in capacity_map.spots(loaded)}
    assert standings == {(LOW, SHORT): "worse", (LOW, LONG): "better", (HIGH, SHORT): "worse", (HIGH, LONG): "worse"}
    said = [each.given for each in capacity_map.answer(loaded) if isinstance(each, Sentence)]
    assert [plain(each["variant"]) for each in said] == ["Dense of equal FLOPs", "MoD"]  # the faster one
    counts = [[each[name] for name in ("most", "least", "better", "worse")] for each in said]
    assert counts == [[3, 1, 1, 0], [4, 0, 1, 0]]


def test_the_figure_has_four_maps_with_one_scale(loaded: Loaded) -> None:
    """Better is above the middle of the palette in every map, worse below it; marks say the same without colours."""
    over_shape, over_cost = drawn(section, loaded)
    assert (over_shape.name, over_cost.name) == ("map", "map-cost")
    spots = capacity_map.spots(loaded)
    for side, drawing in zip(capacity_map.sides(loaded), (over_shape, over_cost), strict=True):
        axes = drawing.figure.axes
        assert len(axes) == len(section.four(loaded)) == 4
        for axis, metric in zip(axes, section.four(loaded), strict=True):
            (cells,) = axis.collections
            found = [spot.over[side][metric] for spot in spots]
            glyphs = [text.get_text()[:1] for text in axis.texts if text.get_text()[:1] in "▲▼≈?"]
            for each, shade, glyph in zip(found, map(int, np.ravel(present(cells.get_array()))), glyphs, strict=True):
                sign = {"better": 1, "worse": -1}.get(each.verdict or "", 0)
                assert (shade > len(MAP) // 2) - (shade < len(MAP) // 2) in {sign, 0}
                assert glyph == {1: "▲", -1: "▼"}.get(sign, glyph)
        assert len(drawing.data) == 4 * len(spots)
        assert len(present(drawing.marks).said) == len(drawing.data)
    assert render.figure_named(loaded, "map").label == over_shape.label


def test_there_is_no_map_of_one_length_of_losses_or_one_capacity(tmp_path: Path) -> None:
    for name, plan in {
        "one length": planted_plan("draft", processes=3, rounds=2),
        "one capacity": map_plan(variants=[{"model": "dense"}, {"model": "mod", "capacity": 0.125}]),
    }.items():
        (tmp_path / name).mkdir()
        other = load(planted_run(tmp_path / name, plan))
        assert shown(section, other) == ""
        assert capacity_map.TABLE.frame(other).empty
        assert list(capacity_map.answer(other)) == []
        assert capacity_map.in_place(other) is None
        assert render.figure_named(other, "map").name in {each.name for each in drawn(speedup_map, other)}


def test_a_smoke_run_claims_nothing(tmp_path: Path) -> None:
    loaded = load(map_run(tmp_path, map_plan(effort="smoke")))
    assert list(capacity_map.answer(loaded)) == []
    assert {spot.standing for spot in capacity_map.spots(loaded)} == {"inconclusive"}
