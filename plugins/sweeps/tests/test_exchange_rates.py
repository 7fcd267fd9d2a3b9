"""Compute-equivalent gains of planted runs: the numbers come back, in every currency.

Where there is none, one sentence says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import planted_losses
import pytest
from planted import stored
from present import present

from modbench.extend import PLANTED, planted_plan, planted_run
from modbench.harness.core.labels import Label
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.plan import Plan
from modbench.plugins.sweeps.gain import question as exchange
from modbench.plugins.sweeps.gain.statistics import EQUAL_COST, NOT_DEARER
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.reasons import in_words
from modbench.reports.tables.load import load

FLOPS, SECONDS = "flops/train_step", "latency/train_step"
METRICS = ["flops/forward", FLOPS, "latency/forward", SECONDS, "loss/val", "loss/val_causal"]
FEW: dict[str, Any] = {"metrics": [FLOPS, "loss/val"]}
MATCHED = [{"model": "dense", "match": {"variant": "mod", "capacity": capacity}} for capacity in (0.125, 0.5)]
VARIANTS = [{"model": "dense"}, *MATCHED, {"model": "mod", "capacity": [0.125, 0.5]}, {"model": "moe"}]
DENSE = ("dense-f0.58", "dense-f0.74", "dense")
MOD, HALF, MOE = "mod[c0.125]", "mod[c0.5]", "moe"
# Nats per unit of the logarithm of the training FLOPs.
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
    return {variant: present(case_cost(case)).train_step for variant, case in cases.items()}


def losses(flops: Mapping[str, float], **speedups: float) -> dict[str, float]:
    """Losses of dense models on a straight line, and of variants whose compute-equivalent gain in training FLOPs is that."""
    wanted = dict.fromkeys(flops, 1.0) | speedups
    return {variant: 2.0 - SLOPE * math.log(flops[variant] * wanted[variant] / flops["dense"]) for variant in flops}


def rates(folder: Path, made: Plan, **how: Any) -> pd.DataFrame:
    """`exchange.csv` of a run in which MoD has a compute-equivalent gain of 1.25; `how` changes what is planted."""
    stored(folder, made, **{"losses": losses(step_flops(made), **{MOD: 1.25}), "run_noise": 1e-3, **how})
    return written(folder)


def written(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "run" / "exchange.csv")


def one(table: Any, metric: str = FLOPS, variant: str = MOD) -> Any:
    return table[(table.variant == variant) & (table.metric == metric)].iloc[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, folder = planned(), tmp_path_factory.mktemp("exchange")
    gains = losses(step_flops(made), **{MOD: 1.25, HALF: 1.6, MOE: 0.2})
    rates(folder, made, losses=gains, run_noise=0.003)
    return folder / "run"


@pytest.fixture(scope="module")
def table(run: Path) -> pd.DataFrame:
    return written(run.parent)


def test_the_planted_rate_comes_back_in_flops(table: pd.DataFrame) -> None:
    row = one(table)
    assert row.gain == pytest.approx(1.25, rel=0.02)
    assert row.gain_ci_low < 1.25 < row.gain_ci_high < 1.3
    assert (row.kind, row.status, row.seeds, row.ci_level) == ("rate", "ok", 5, 0.95)
    assert (row.seq_len, row.dense_variants, row.loss_metric) == (128, " ".join(DENSE), "loss/val_causal")
    assert math.isnan(row.processes)


@pytest.mark.parametrize("metric", [SECONDS, "latency/forward"])
def test_the_same_place_on_the_ladder_costs_seconds(table: pd.DataFrame, metric: str) -> None:
    flops = step_flops(planned())
    small, large = (math.log(flops[variant]) for variant in DENSE[1:])
    share = (math.log(1.25 * flops[MOD]) - small) / (large - small)
    seconds = PLANTED[DENSE[1]] ** (1 - share) * PLANTED["dense"] ** share / PLANTED[MOD]
    row = one(table, metric)
    assert row.gain == pytest.approx(seconds, rel=0.02)
    assert row.gain_ci_low < seconds < row.gain_ci_high
    assert (row.processes, row.ratio) == (5, pytest.approx(1.6, rel=0.02))
    assert row.ratio_ci_low < row.ratio < row.ratio_ci_high


def test_seconds_of_runs_with_equal_training_flops_are_those_of_the_whole_run(tmp_path: Path) -> None:
    """A cheaper model makes more steps: seconds of a step would flatter it."""
    made = planned(
        metrics=[FLOPS, "flops/forward", SECONDS, "loss/val"],
        train={"seq_len": 128, "batch_size": 1, "flops": 1e11},
    )
    runs = {job.comparison.variants[0].variant: job.protocol.train for job in made.jobs if job.protocol.train}
    # Larger dense models need fewer, dearer steps: with these times the whole run takes as long or less.
    assert PLANTED["dense"] * runs["dense"].steps < PLANTED["dense-f0.58"] * runs["dense-f0.58"].steps
    rows = rates(tmp_path, made)
    for metric, reason in ((FLOPS, EQUAL_COST), (SECONDS, NOT_DEARER)):
        row = one(rows, metric)
        assert (row.kind, row.status, in_words(reason) in row.reason) == ("none", "skipped", True)
    assert one(rows, "flops/forward").kind == "rate"


# --- what is lacking


def test_a_loss_that_saw_the_future_is_labelled(tmp_path: Path) -> None:
    row = one(rates(tmp_path, planned(**FEW)))
    assert (row.loss_metric, row.labels) == ("loss/val", Label.SAW_FUTURE)
    rows: Any = present(exchange.table(load(tmp_path / "run"))).rows
    assert [row[1].given["doubts"] for row in rows if plain(row[0]) == "MoD 0.125"] == [Label.SAW_FUTURE]


def test_a_noisy_pair_with_a_dense_model_labels_the_gain_in_its_quantity(run: Path) -> None:
    loaded = load(run)
    pairs = loaded.pairs.copy()
    pairs.loc[pairs.metric == SECONDS, "labels"] = Label.NOISY
    for of, labelled in ((loaded, set()), (replace(loaded, pairs=pairs), {SECONDS})):
        found = [row for row in exchange.speedups(of) if row.variant.case.variant == MOD]
        assert {row.metric.key for row in found if Label.NOISY in row.labels} == labelled


@pytest.mark.parametrize(
    ("effort", "changes", "how", "status", "reason"),
    [
        ("smoke", {"processes": 1}, {}, "ok", "^illustration, no claim: smoke"),
        ("draft", {}, {"other_text": "train-mod_c0.125"}, "skipped", "different text"),
        ("draft", {"grid": {"seq_len": [32, 64]}}, {}, "ok", "T = 64; .* training length, 128"),
    ],
)
def test_what_is_lacking_has_a_reason(
    tmp_path: Path, effort: str, changes: dict[str, Any], how: dict[str, Any], status: str, reason: str
) -> None:
    row = one(rates(tmp_path, planned(effort, **FEW, **changes), **how))
    assert row.status == status
    assert re.search(reason, row.reason), row.reason
    assert math.isnan(row.gain_ci_low) == ("grid" not in changes)


@pytest.mark.slow
def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A dense model without a seed is left out of the dense models; a variant without one has no rate."""
    rates(tmp_path, planned(**FEW))
    for part in ("dense-f0.74", "moe"):
        (gone,) = (tmp_path / "run" / "jobs").glob(f"train-{part}*seed1*")
        gone.unlink()
    render.views(load(tmp_path / "run"), ["csv"])
    row = one(written(tmp_path))
    assert row.dense_variants == "dense-f0.58 dense"
    assert row.reason.startswith(f"{exchange.STRAIGHT}; left out")
    assert row.reason.endswith(": dense-f0.74")
    assert row.gain == pytest.approx(1.25, rel=0.02)
    assert "not measured" in one(written(tmp_path), variant=MOE).reason


def test_losses_of_other_tokens_buy_nothing(tmp_path: Path) -> None:
    stored(tmp_path, planted_losses.planned("mod"), losses={"dense": 2.0, "dense-f0.58": 2.2, MOD: 1.0, MOE: 2.1})
    places = {each.variant.case.variant: each.variant.place for each in exchange.speedups(load(tmp_path / "run"))}
    assert (places[MOD] is None, places[MOE] is None) == (True, False)


def test_of_two_training_lengths_each_has_its_own_dense_models(tmp_path: Path) -> None:
    held = [each.variant for each in exchange.speedups(planted_losses.at_two_lengths(tmp_path))]
    assert {each.case.grid_point.seq_len for each in held} == {64, 128}
    for each in held:
        assert {case.grid_point.seq_len for case in each.dense_variants} == {each.case.grid_point.seq_len}


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
