"""Prefill and decode: times, ratios and rates at every length and batch size, an answer for each, and where skipping pays."""

from __future__ import annotations

from pathlib import Path

import pytest
from panels_of import shown
from planted import left, planted_suite

from modbench.reports.model import Estimate, Finding, Labelled, Listed, Sentence, Table
from modbench.reports.panels import inference
from modbench.reports.questions import break_even, first_screen, results
from modbench.reports.tables import load
from modbench.reports.terminal import summary
from modbench.reports.writers.number_format import plain

METRICS = ["flops/forward", "latency/prefill", "tokens_per_s/prefill", "latency/decode"]
ARMS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}, {"model": "moe"}]
GRID = {"seq_len": [64, 128], "batch_size": [1, 4]}


def pays(loaded: load.Loaded) -> dict[str, list[str]]:
    """From where each arm pays in prefill and decode, by arm."""
    made = [*break_even.blocks(loaded, [*inference.BESIDE])]
    rows = made[0].rows if made and isinstance(made[0], Table) else []
    return {plain(arm): list(map(plain, cells)) for arm, *cells in rows}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> load.Loaded:
    """Two lengths at two batch sizes. Planted: MoD 0.125 takes 1/1.6 of dense; MoE fails."""
    folder = tmp_path_factory.mktemp("grid")
    made = planted_suite("draft", metrics=METRICS, arms=ARMS, grid=GRID, launches=3, rounds=4, train=None)
    left(folder, made, fails="moe")
    return load.load(folder / "run")


def test_a_row_is_an_arm_at_a_length_and_batch_size_with_its_ratio_and_verdict(grid: load.Loaded) -> None:
    prefills, decodes = (inference.table(grid, f"latency/{workload}") for workload in ("prefill", "decode"))
    assert prefills is not None
    assert decodes is not None
    assert prefills.head == ["prefill (TTFT)", "T", "B", "time", "over dense [95 %]", "tokens/s"]
    # What was not asked for has no column.
    assert decodes.head == ["decode step (TPOT)", "T", "B", "time", "over dense [95 %]"]
    rows = {(each[0].case.model, each[1], each[2]): each[3:] for each in prefills.rows if isinstance(each[0], Labelled)}
    places = [(length, batch) for batch in (1, 4) for length in (64, 128)]
    assert [*rows] == [(model, *place) for place in places for model in ("dense", "mod", "moe")]
    for length, batch in places:
        time, ratio, rate = rows["dense", length, batch]
        assert isinstance(time, Estimate)
        assert isinstance(rate, Estimate)
        assert ratio == ""
        assert rate.value == pytest.approx(length * batch / (time.value or 0), rel=0.03)  # mean, median
        found = rows["mod", length, batch][1]
        assert isinstance(found, Finding)
        assert (found.place.seq_len, found.place.batch_size, found.verdict) == (length, batch, "better")
        assert found.typical.value == pytest.approx(1.6, rel=0.05)
        assert found.typical.closed
        assert rows["moe", length, batch] == ["failed", "", "failed"]
    assert "▲ faster" in shown(inference, grid)


def test_a_table_has_all_lengths_and_batch_sizes_in_the_style_of_the_forward_table(grid: load.Loaded) -> None:
    """Of a time no interval is printed: it is of single launches, and far wider than that of the ratio."""
    for made in results.tables(grid, results.TIMES, settings=1):
        assert made.head[1:] == ("T = 64, B = 1", "T = 128, B = 1", "T = 64, B = 4", "T = 128, B = 4")
        _, *cells = made.rows[1]
        for found in cells:
            assert isinstance(found, Finding)
            assert found.value is not None
            assert not found.value.closed
            assert found.typical.closed
            assert found.verdict == "better"


def test_each_workload_and_batch_size_has_an_answer_of_its_own(grid: load.Loaded) -> None:
    answers = first_screen.answer(grid)
    said = [each.given for each in answers if isinstance(each, Sentence)]
    assert [(each["workload"], each["batch"]) for each in said] == [
        (workload, batch) for workload in ("Prefill", "Decode step") for batch in (1, 4)
    ]
    for each in said:
        assert isinstance(each["said"], Listed)
        (against,) = each["said"].values
        assert isinstance(against, Sentence)
        assert (against.given["faster"], against.given["all"]) == (2, 2)
        assert isinstance(against.given["ratios"], Estimate)
    # Each begins a line of the terminal.
    lines = summary.closing(grid, "report.html", None).splitlines()
    assert [sum(line.startswith(begins) for line in lines) for begins in ("Prefill, B = ", "Decode step, B = ")] == [
        2,
        2,
    ]


def test_a_value_that_every_arm_shares_takes_one_line_and_that_only_with_v(tmp_path: Path) -> None:
    left(tmp_path, planted_suite("draft", metrics=["latency/decode", "syncs/forward"], arms=ARMS[:2], train=None))
    loaded = load.load(tmp_path / "run")
    short, whole = (summary.closing(loaded, "report.html", None, verbose=every).splitlines() for every in (False, True))
    assert [line.partition(": ")[2] for line in whole if "syncs/forward" in line] == ["syncs/forward 0"]
    assert not [line for line in short if "syncs/forward" in line]


def test_each_routed_arm_is_held_against_equal_cost_and_equal_shape(tmp_path: Path) -> None:
    """Planted: MoD 0.125 takes 1/1.6 of dense and the rung 0.7; MoD 0.5 as long as dense."""
    left(tmp_path, planted_suite("draft", metrics=METRICS, train=None))
    assert pays(load.load(tmp_path / "run"))["MoD 0.125"] == ["64"] * 4


def test_many_rows_are_thinned_out(grid: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MOST_ROWS", 2)
    found = inference.table(grid, "latency/decode")
    assert found is not None
    assert ([row[1:3] for row in found.rows], found.left_out) == ([[64, 1], [128, 4]], 10)


def test_a_workload_that_was_not_planned_has_no_table(tmp_path: Path) -> None:
    made = planted_suite("draft", metrics=["latency/decode"], arms=ARMS[:2], launches=1, rounds=2, train=None)
    left(tmp_path, made)
    assert inference.table(load.load(tmp_path / "run"), "latency/prefill") is None


def test_a_report_against_a_routed_baseline_says_only_what_it_compares(tmp_path: Path) -> None:
    left(tmp_path, planted_suite("draft", metrics=METRICS, train=None))
    made = next(break_even.blocks(load.load(tmp_path / "run", "mod[c0.125]")))
    assert isinstance(made, Table)
    assert set(made.head[1:]) == {"baseline"}


def test_a_failed_arm_does_not_pay(tmp_path: Path) -> None:
    left(tmp_path, planted_suite("draft", metrics=METRICS, train=None), fails="mod[c0.125]")
    assert set(pays(load.load(tmp_path / "run"))["MoD 0.125"]) == {"?"}


def test_a_smoke_run_and_a_run_without_prefill_say_nothing(tmp_path: Path) -> None:
    left(tmp_path / "smoke", planted_suite("smoke", metrics=METRICS, train=None))
    assert pays(load.load(tmp_path / "smoke" / "run")) == {}
    left(tmp_path / "other", planted_suite("draft", metrics=["latency/forward"], train=None))
    assert pays(load.load(tmp_path / "other" / "run")) == {}
