"""Capacity × length: what pays where is as planted, in the answer, the table, the figure and `map.csv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panels_of import drawn, shown
from planted import left, planted_suite
from planted_map import CAPACITIES, LENGTHS, map_plan, map_run
from present import present

from modbench.harness.core.contracts import Text
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.harness.stats.effects import by_chance
from modbench.reports.figures.style import MAP
from modbench.reports.page import render
from modbench.reports.panels import map as panel
from modbench.reports.panels import speedup_map
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
    return present(capacity_map.of(loaded))


def test_a_capacity_pays_where_it_was_planted_to(made: Map) -> None:
    """At 128 the lower capacity is faster than dense of equal cost and ends below it; all else is slower, with equal losses."""
    standings = {(case.arm, length): made.standing(case, length) for case in made.arms for length in made.lengths}
    assert standings == {(LOW, SHORT): "dense", (LOW, LONG): "pays", (HIGH, SHORT): "dense", (HIGH, LONG): "dense"}
    pays: Any = next(iter(capacity_map.answer(made.loaded)))
    assert plain(pays.given["where"]) == f"at T = {LONG} (MoD {CAPACITIES[0]})"


def test_the_answer_counts_time_loss_and_memory_beside_what_chance_gives(made: Map, tmp_path: Path) -> None:
    """Time is worse in three cells of four, the loss better in one, as planted; memory grows with the number of the arm."""
    over_cost = plain(next(iter(capacity_map.answer(made.loaded))))
    assert over_cost == (
        f"Of 4 cells against equal-cost dense: forward faster in 1, slower in 3, loss better in 1 (chance gives up to "
        f"{by_chance(len(LENGTHS))}), memory larger in 4; skipping pays at T = {LONG} (MoD {CAPACITIES[0]})."
    )
    # Where all cells agree, chance is no matter.
    losses = {case.id: 2.0 for case in made.loaded.plan.cases}
    grid = {
        (case.arm, each, case.place.seq_len): 0.8 if case.rung else 1.0
        for case in made.loaded.plan.cases
        for each in ("forward", "train_step")
    }
    quiet = load(map_run(tmp_path, losses=losses, grid=grid))
    said = plain(next(iter(capacity_map.answer(quiet))))
    assert said.startswith(
        "Of 4 cells against equal-cost dense: forward slower in 4, loss better in none, memory larger in 4;"
    )
    assert said.endswith("skipping pays in none.")


def test_the_reading_names_the_margin_of_a_loss() -> None:
    assert f"within {percent(capacity_map.LOSS_MARGIN)} of it" in panel.READING


def test_seeds_are_advised_for_losses_that_are_open_alone(tmp_path: Path) -> None:
    """Without noise to speak of, losses that are not told apart lie within the margin; with it they are open."""
    for noise, advised in ((0.002, False), (0.03, True)):
        (tmp_path / str(noise)).mkdir()
        made = present(capacity_map.of(load(map_run(tmp_path / str(noise), run_noise=noise))))
        (cells,) = [made.row(case, made.loss, equal_cost=True) for case in made.arms if case.arm == HIGH]
        assert {each.verdict for each in cells} == {"inconclusive"}
        assert [made.needed(each) is not None for each in cells] == [advised] * len(LENGTHS)
        assert ("seeds needed" in {each.label for each in capacity_map.full_tables(made)}) == advised


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
        assert len(present(drawing.marks).said) == len(drawing.data)
    assert render.figure_named(made.loaded, "map").label == over_shape.label
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
        assert render.figure_named(other, "map").name in {each.name for each in drawn(speedup_map, other)}


def test_a_smoke_run_claims_nothing(tmp_path: Path) -> None:
    loaded = load(map_run(tmp_path, map_plan(effort="smoke")))
    made: Any = capacity_map.of(loaded)
    (said,) = capacity_map.answer(loaded)
    assert plain(said).endswith("without a verdict.")
    assert {made.standing(case, length) for case in made.arms for length in made.lengths} == {"open"}


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
