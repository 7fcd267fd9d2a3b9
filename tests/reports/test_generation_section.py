"""Prefill and decode: times, ratios and rates at every length and batch size, an answer for each, and where skipping pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.markup.number_format import plain
from modbench.reports.sections import generation
from modbench.reports.tables import load
from modbench.reports.terminal import printed_run

METRICS = ["flops/forward", "latency/prefill", "tokens_per_s/prefill", "latency/decode"]
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}, {"model": "moe"}]
GRID = {"seq_len": [64, 128], "batch_size": [1, 4]}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> load.Loaded:
    """Two lengths at two batch sizes. Planted: MoD 0.125 takes 1/1.6 of dense; MoE fails."""
    folder = tmp_path_factory.mktemp("grid")
    made = planted_plan("draft", metrics=METRICS, variants=VARIANTS, grid=GRID, processes=3, rounds=4, train=None)
    planted_run(folder, made, fails="moe")
    return load.load(folder / "run")


def test_a_value_that_every_variant_shares_is_shown_only_with_v(tmp_path: Path) -> None:
    planted_run(
        tmp_path, planted_plan("draft", metrics=["latency/decode", "syncs/forward"], variants=VARIANTS[:2], train=None)
    )
    loaded = load.load(tmp_path / "run")
    short, whole = (
        printed_run.closing(loaded, "report.html", None, verbose=every).splitlines() for every in (False, True)
    )
    assert len([line for line in whole if "syncs/forward" in line]) == 1
    assert not [line for line in short if "syncs/forward" in line]


def test_many_rows_are_thinned_out(grid: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MOST_ROWS", 2)
    found: Any = generation.table(grid, "latency/decode")
    assert ([plain(row[1]) for row in found.rows], found.left_out) == (["T = 64, B = 1", "T = 128, B = 4"], 10)


def test_a_workload_that_was_not_planned_has_no_table(tmp_path: Path) -> None:
    made = planted_plan("draft", metrics=["latency/decode"], variants=VARIANTS[:2], processes=1, rounds=2, train=None)
    planted_run(tmp_path, made)
    assert generation.table(load.load(tmp_path / "run"), "latency/prefill") is None
