"""Compute-equivalent gains of planted runs: the numbers come back, in every currency.

Where there is none, one sentence says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import planted_losses
import pytest
from planted import stored
from present import present

from modbench.extend import PLANTED, planted_plan, planted_run
from modbench.harness.core.contracts import Text
from modbench.harness.core.labels import Label
from modbench.harness.planning import plan
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.plan import Plan
from modbench.plugins.sweeps.gain import question as exchange
from modbench.plugins.sweeps.gain.statistics import EQUAL_COST, NOT_DEARER
from modbench.reports.blocks import Table
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.reasons import in_words
from modbench.reports.tables.load import Loaded, load

METRICS = ["flops/forward", "flops/train_step", "latency/forward", "latency/train_step", "loss/val", "loss/val_causal"]
VARIANTS = [
    {"model": "dense"},
    {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
    {"model": "dense", "match": {"variant": "mod", "capacity": 0.5}},
    {"model": "mod", "capacity": [0.125, 0.5]},
    {"model": "moe"},
]
MATCHED_BASELINES = ("dense-f0.58", "dense-f0.74", "dense")
# Nats per job of the logarithm of the training FLOPs.
SLOPE = 0.5


def planned(effort: str = "draft", **changes: Any) -> Plan:
    settings = {
        "metrics": METRICS,
        "variants": VARIANTS,
        "seeds": [0, 1, 2, 3, 4],
        "processes": 5,
        "rounds": 2,
        "grid": {"seq_len": [128]},
    }
    return planted_plan(effort, **{**settings, **changes})


def step_flops(made: Plan) -> dict[str, float]:
    """Training FLOPs of a step by variant, at the training length."""
    cases = {case.variant: case for case in made.cases if case.grid_point.seq_len == 128}
    costs = {variant: case_cost(case) for variant, case in cases.items()}
    return {variant: cost.train_step for variant, cost in costs.items() if cost is not None}


def losses(flops: Mapping[str, float], **speedups: float) -> dict[str, float]:
    """Losses of dense models on a straight line, and of variants whose compute-equivalent gain in training FLOPs is that."""
    wanted = dict.fromkeys(flops, 1.0) | speedups
    whole = flops["dense"]
    return {variant: 2.0 - SLOPE * math.log(flops[variant] * wanted[variant] / whole) for variant in flops}


MOD, HALF, MOE = "mod[c0.125]", "mod[c0.5]", "moe"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange")
    made = planned()
    planted = losses(step_flops(made), **{MOD: 1.25, HALF: 1.6, MOE: 0.2})
    stored(folder, made, losses=planted, run_noise=0.003)
    return folder / "run"


def rates(folder: Path, made: Plan, **how: Any) -> pd.DataFrame:
    """`exchange.csv` of a run in which MoD has a compute-equivalent gain of 1.25; `how` changes what is planted."""
    stored(folder, made, **{"losses": losses(step_flops(made), **{MOD: 1.25}), "run_noise": 1e-3, **how})
    return written(folder)


def written(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "run" / "exchange.csv")


@pytest.fixture(scope="module")
def table(run: Path) -> pd.DataFrame:
    return written(run.parent)


def shown(loaded: Loaded) -> Table:
    """The table that the terminal and the page show."""
    return present(exchange.table(loaded))


def one(table: Any, variant: str, metric: str) -> Any:
    return table[(table.variant == variant) & (table.metric == metric)].iloc[0]


def test_the_planted_rate_comes_back_in_flops(table: pd.DataFrame) -> None:
    row = one(table, MOD, "flops/train_step")
    assert row.gain == pytest.approx(1.25, rel=0.02)
    assert row.gain_ci_low < 1.25 < row.gain_ci_high < 1.3
    assert (row.kind, row.status, row.seeds, row.ci_level) == ("rate", "ok", 5, 0.95)
    assert (row.seq_len, row.dense_variants, row.loss_metric) == (128, " ".join(MATCHED_BASELINES), "loss/val_causal")
    assert math.isnan(row.processes)


def test_the_same_place_on_the_ladder_costs_seconds(table: pd.DataFrame) -> None:
    flops = step_flops(planned())
    wanted = math.log(1.25 * flops[MOD])
    small, large = (math.log(flops[variant]) for variant in MATCHED_BASELINES[1:])
    share = (wanted - small) / (large - small)
    seconds = (
        math.exp((1 - share) * math.log(PLANTED[MATCHED_BASELINES[1]]) + share * math.log(PLANTED["dense"]))
        / PLANTED[MOD]
    )
    for metric in ("latency/train_step", "latency/forward"):
        row = one(table, MOD, metric)
        assert row.gain == pytest.approx(seconds, rel=0.02)
        assert row.gain_ci_low < seconds < row.gain_ci_high
        assert row.processes == 5
        assert row.ratio == pytest.approx(1.6, rel=0.02)
        assert row.ratio_ci_low < row.ratio < row.ratio_ci_high


def test_a_variant_as_good_as_the_anchor_has_both_ends_where_a_matched_lies_above(tmp_path: Path) -> None:
    """With the anchor on top, what is better by chance has no upper end; the plain ratio stays that to the anchor."""
    above = {"model": "dense", "match": {"variant": "dense", "factor": 1.4}}
    for variants, ends, top in (
        (VARIANTS, "low", "dense"),
        ([*VARIANTS[:3], above, *VARIANTS[3:]], "both", "dense-f1.40"),
    ):
        made = planned(variants=variants)
        flops = step_flops(made)
        even = losses(flops, **{MOD: flops["dense"] / flops[MOD]})
        row = one(rates(tmp_path / ends, made, losses=even, run_noise=0.003), MOD, "latency/train_step")
        assert row.dense_variants.split()[-1] == top
        assert math.isnan(row.gain_ci_high) == (ends == "low")
        assert row.ratio == pytest.approx(1.6, rel=0.02)


def test_a_loss_that_saw_the_future_is_labelled(tmp_path: Path) -> None:
    made = planned(metrics=["flops/train_step", "loss/val"])
    row = one(rates(tmp_path, made), MOD, "flops/train_step")
    assert (row.loss_metric, row.labels) == ("loss/val", Label.SAW_FUTURE)
    rows: Any = shown(load(tmp_path / "run")).rows
    assert [row[1].given["doubts"] for row in rows if plain(row[0]) == "MoD 0.125"] == [Label.SAW_FUTURE]


def test_a_smoke_run_illustrates_however_many_seeds_it_has(tmp_path: Path) -> None:
    made = planned("smoke", metrics=["flops/train_step", "loss/val", "loss/val_causal"], processes=1)
    row = one(rates(tmp_path, made), MOD, "flops/train_step")
    assert row.reason.startswith("illustration, no claim: smoke")
    assert math.isnan(row.gain_ci_low)


def test_another_text_is_another_loss(tmp_path: Path) -> None:
    made = planned(metrics=["flops/train_step", "loss/val"])
    row = one(rates(tmp_path, made, other_text="train-mod_c0.125"), MOD, "flops/train_step")
    assert row.status == "skipped"
    assert "different text" in row.reason


@pytest.mark.slow
def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A dense model without a seed is left out of the dense models; a variant without one has no rate."""
    made = planned(metrics=["flops/train_step", "loss/val"])
    rates(tmp_path, made)
    for part in ("dense-f0.74", "moe"):
        (gone,) = (tmp_path / "run" / "jobs").glob(f"train-{part}*seed1*")
        gone.unlink()
    render.views(load(tmp_path / "run"), ["csv"])
    rows = written(tmp_path)
    row = one(rows, MOD, "flops/train_step")
    assert row.dense_variants == "dense-f0.58 dense"
    assert row.reason.startswith(f"{exchange.STRAIGHT}; left out")
    assert row.reason.endswith(": dense-f0.74")
    assert row.gain == pytest.approx(1.25, rel=0.02)
    assert "not measured" in one(rows, "moe", "flops/train_step").reason


def test_what_a_selection_left_out_has_a_reason(tmp_path: Path) -> None:
    """MoD was trained, but its step was not counted at any place."""
    suite = planned(metrics=["flops/train_step", "loss/val"]).suite
    made = plan.make_plan(
        suite, device="cpu", select="not (mod and B1)", text=Text("t", b"a" * 500, b"b" * 500, "c0ffee")
    )
    whole = losses(step_flops(planned()), **{MOD: 1.25})
    row = one(rates(tmp_path, made, losses=whole), MOD, "flops/train_step")
    assert row.status == "skipped"
    assert row.reason.startswith("flops/train_step was not measured")


def test_compute_from_another_length_is_said(tmp_path: Path) -> None:
    made = planned(metrics=["flops/train_step", "loss/val"], grid={"seq_len": [32, 64]})
    whole = losses(step_flops(planned()), **{MOD: 1.25})
    row = one(rates(tmp_path, made, losses=whole), MOD, "flops/train_step")
    assert row.seq_len == 64
    assert "T = 64" in row.reason
    assert "training length, 128" in row.reason


def test_seconds_of_runs_with_equal_training_flops_are_those_of_the_whole_run(tmp_path: Path) -> None:
    """A cheaper model makes more steps: seconds of a step would flatter it."""
    made = planned(
        metrics=["flops/train_step", "flops/forward", "latency/train_step", "loss/val"],
        train={"seq_len": 128, "batch_size": 1, "flops": 1e11},
    )
    rows = rates(tmp_path, made)
    flops = one(rows, MOD, "flops/train_step")
    assert (flops.kind, in_words(EQUAL_COST) in flops.reason) == ("none", True)
    steps = {
        job.comparison.variants[0].variant: run.steps for job in made.jobs if (run := job.protocol.train) is not None
    }
    seconds = {variant: PLANTED[variant] * steps[variant] for variant in (*MATCHED_BASELINES, MOD)}
    # Larger dense models need fewer, dearer steps: with these times the whole run takes as long or less.
    assert seconds["dense"] < seconds["dense-f0.58"]
    row = one(rows, MOD, "latency/train_step")
    assert (row.kind, row.status) == ("none", "skipped")
    assert in_words(NOT_DEARER) in row.reason
    assert one(rows, MOD, "flops/forward").kind == "rate"


def test_losses_of_other_tokens_buy_nothing(tmp_path: Path) -> None:
    stored(tmp_path, planted_losses.planned("mod"), losses={"dense": 2.0, "dense-f0.58": 2.2, MOD: 1.0, "moe": 2.1})
    made = {each.variant.case.variant: each.variant for each in exchange.speedups(load(tmp_path / "run"))}
    assert made[MOD].place is None
    assert made["moe"].place is not None


def test_of_two_training_lengths_each_has_its_own_dense_models(tmp_path: Path) -> None:
    loaded = planted_losses.at_two_lengths(tmp_path)
    held = [each.variant for each in exchange.speedups(loaded)]
    assert {each.case.grid_point.seq_len for each in held} == {64, 128}
    for each in held:
        assert {case.grid_point.seq_len for case in each.dense_variants} == {each.case.grid_point.seq_len}
        assert f"T = {each.case.grid_point.seq_len}" in plain(exchange._called(loaded, each))


@pytest.mark.parametrize(("budget", "buys"), [({"steps": 0}, False), ({"tokens": 4096}, True)])
def test_weights_that_were_not_trained_here_cost_nothing(tmp_path: Path, budget: dict[str, int], buys: bool) -> None:
    made = planted_plan(
        "draft",
        metrics=["latency/prefill", "latency/decode", "memory/kv_cache", "syncs/forward", "loss/val_causal"],
        grid={"seq_len": [256], "batch_size": [1, 8]},
        variants=planted_losses.VARIANTS[:3],
        train={"seq_len": 256, "batch_size": 8, **budget},
    )
    planted_run(tmp_path, made, losses={"dense": 2.0, MOD: 2.1})
    assert bool(exchange.speedups(load(tmp_path / "run"))) is buys
