"""Prefill and decode in a server's units, and the sentence that says where skipping starts to pay."""

from __future__ import annotations

from pathlib import Path

import pytest
from panels_of import shown
from planted import left, planted_suite

from modbench.reports.model import Estimate, Table
from modbench.reports.panels import inference
from modbench.reports.questions import break_even
from modbench.reports.tables import load
from modbench.reports.writers.number_format import plain

METRICS = ["flops/forward", "latency/prefill", "tokens_per_s/prefill", "latency/decode"]


def pays(loaded: load.Loaded) -> dict[str, list[str]]:
    """From where each arm pays in prefill and decode, by arm."""
    made = [*break_even.blocks(loaded, [served.time for served in inference.SERVED])]
    rows = made[0].rows if made and isinstance(made[0], Table) else []
    return {plain(arm): list(map(plain, cells)) for arm, *cells in rows}


def test_each_routed_arm_is_held_against_equal_cost_and_equal_shape(tmp_path: Path) -> None:
    """Planted: MoD 0.125 takes 1/1.6 of dense and the rung 0.7; MoD 0.5 as long as dense."""
    left(tmp_path, planted_suite("draft", metrics=METRICS, train=None))
    loaded = load.load(tmp_path / "run")
    assert pays(loaded)["MoD 0.125"] == ["64"] * 4
    prefills, decodes = (inference.table(loaded, served) for served in inference.SERVED)
    assert prefills is not None
    assert decodes is not None
    assert prefills.head == ["arm", "T", "B", "a call [95 %]", "tokens/s"]
    assert prefills.rows[0][:3] == ["dense", 64, 1]
    time, rate = prefills.rows[0][3:]
    assert isinstance(time, Estimate)
    assert isinstance(rate, Estimate)
    assert time.closed
    assert rate.value == pytest.approx(64 / (time.value or 0), rel=0.03)  # mean, median
    # What was not asked for has no column.
    assert decodes.head == ["arm", "context", "B", "a step [95 %]"]


@pytest.mark.slow
def test_every_arm_has_a_cell_at_every_place(tmp_path: Path) -> None:
    """The rate follows from the typical time where none was measured; the ratio colours the cell, a verdict names it."""
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}, {"model": "moe"}]
    grid = {"seq_len": [64], "batch_size": [1, 2]}
    made = planted_suite("draft", metrics=METRICS, arms=arms, grid=grid, launches=3, rounds=4, train=None)
    left(tmp_path, made, fails="moe")
    loaded = load.load(tmp_path / "run")
    prefill, decode = (inference.grid(loaded, served) for served in inference.SERVED)
    assert prefill is not None
    assert decode is not None
    assert [place.given["batch"] for place in decode.places] == [1, 2]
    assert [arm.arm for arm, _ in decode.rows] == ["dense", "mod[c0.125]", "moe"]
    assert (prefill.derived, decode.derived) == (False, True)
    dense, mod, moe = (cells for _, cells in decode.rows)
    assert dense[1] is not None
    assert dense[1].rate is not None
    seconds = float(
        loaded.cases[
            loaded.cases.case_id.str.startswith("dense[T64-B2") & (loaded.cases.metric == "latency/decode")
        ].value.iloc[0]
    )
    assert dense[1].rate.value == pytest.approx(2 / seconds, rel=0.01)
    assert dense[1].against is None
    assert mod[0] is not None
    assert mod[0].against is not None
    assert mod[0].against.typical.value == pytest.approx(1.6, rel=0.05)
    assert mod[0].against.verdict == "better"
    assert moe[0] is not None
    assert (moe[0].rate, moe[0].more) == (None, ("failed",))
    page = shown(inference, loaded)
    assert "background:var(--map-7);color:var(--map-ink-7);print-color-adjust:exact" in page
    assert 'aria-label="Decode: tokens per second' in page


def test_many_places_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.5]}]
    made = planted_suite(
        "draft",
        metrics=["latency/decode"],
        arms=arms,
        grid={"seq_len": [64, 96, 128]},
        launches=1,
        rounds=2,
        train=None,
    )
    left(tmp_path, made)
    monkeypatch.setattr(inference, "MOST_PLACES", 2)
    found = inference.grid(load.load(tmp_path / "run"), inference.SERVED[1])
    assert found is not None
    assert ([place.given["length"] for place in found.places], found.left_out) == ([64, 128], 1)
    assert inference.grid(load.load(tmp_path / "run"), inference.SERVED[0]) is None


def test_a_report_against_a_routed_baseline_says_only_what_it_compares(tmp_path: Path) -> None:
    left(tmp_path, planted_suite("draft", metrics=METRICS, train=None))
    made = next(break_even.blocks(load.load(tmp_path / "run", "mod[c0.125]")))
    assert isinstance(made, Table)
    assert set(made.head[1:]) == {"baseline"}


def test_a_failed_arm_has_a_row_and_does_not_pay(tmp_path: Path) -> None:
    left(tmp_path, planted_suite("draft", metrics=METRICS, train=None), fails="mod[c0.125]")
    loaded = load.load(tmp_path / "run")
    assert set(pays(loaded)["MoD 0.125"]) == {"?"}
    table = inference.table(loaded, inference.SERVED[0])
    assert table is not None
    assert [row[3:] for row in table.rows if row[0] == "MoD 0.125"] == [["failed", ""]] * 2


def test_a_smoke_run_and_a_run_without_prefill_say_nothing(tmp_path: Path) -> None:
    left(tmp_path / "smoke", planted_suite("smoke", metrics=METRICS, train=None))
    assert pays(load.load(tmp_path / "smoke" / "run")) == {}
    left(tmp_path / "other", planted_suite("draft", metrics=["latency/forward"], train=None))
    assert pays(load.load(tmp_path / "other" / "run")) == {}
