"""Losses in one unit: with other tokens than the baseline's only bits per byte compare, and nothing else is said to."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from planted import left, planted_suite, stored

from modbench.harness.planning.plan import Plan
from modbench.harness.stats.effects import POWER, t_quantile
from modbench.harness.stats.sample_size import decided
from modbench.reports.questions import exchange
from modbench.reports.questions.recommend import candidates
from modbench.reports.tables import losses
from modbench.reports.tables.findings import by_length
from modbench.reports.tables.load import load

ARMS = [
    {"model": "dense"},
    {"model": "dense", "match": {"arm": "mod", "capacity": 0.125}},
    {"model": "mod", "capacity": [0.125]},
    {"model": "moe"},
]
METRICS = ["flops/forward", "flops/train_step", "latency/forward", "loss/val", "loss/val_causal", "bpb/val"]
MOD = "mod[c0.125]"


def planned(model: str | None) -> Plan:
    """A plan in which the units of a model (or all, of an empty name) read the tokens of another tokenizer."""
    made = planted_suite(
        "draft", arms=ARMS, metrics=METRICS, seeds=[0, 1], launches=5, rounds=2, grid={"seq_len": [128]}
    )
    units = []
    for unit in made.units:
        run = unit.protocol.train
        if run is not None and model is not None and unit.comparison.arms[0].model.startswith(model):
            changed = unit.protocol.model_copy(update={"train": run.model_copy(update={"tokenizer": "hf:x"})})
            units.append(unit.model_copy(update={"protocol": changed}))
        else:
            units.append(unit)
    return made.model_copy(update={"units": tuple(units)})


def row(rows: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    (found,) = (
        each for _, each in rows[(rows.arm == arm) & (rows.metric == metric) & rows.baseline_arm.eq("dense")].iterrows()
    )
    return found


def test_losses_of_other_tokens_are_not_compared(tmp_path: Path) -> None:
    rows = stored(tmp_path, planned("mod"), losses={"dense": 2.0, "dense-f0.58": 2.2, MOD: 1.0, "moe": 2.1})
    for metric in ("loss/val", "loss/val_causal"):
        assert row(rows, MOD, metric).status == "skipped"
        assert "bpb/val does" in row(rows, MOD, metric).reason
        assert row(rows, "moe", metric).status == "ok"
    assert row(rows, MOD, "bpb/val").status == "ok"
    loaded = load(tmp_path / "run")
    assert losses.mixed(loaded)
    assert [each.metric for each in losses.shown(loaded)] == ["bpb/val"]
    assert {each.loss.metric for each in candidates.choice(loaded, "forward").candidates} == {"bpb/val"}
    made = {each.case.arm: each for each in exchange.exchanges(loaded)}
    assert made[MOD].place is None
    assert made["moe"].place is not None


@pytest.mark.parametrize(("model", "factor"), [(None, 1 / math.log(2)), ("", 1.0)], ids=["bytes", "all of one other"])
def test_of_one_tokenizer_all_compare(tmp_path: Path, model: str | None, factor: float) -> None:
    """The factor to bits per byte is that of the tokens; the planted run has equal numbers in both."""
    rows = stored(tmp_path, planned(model))
    assert row(rows, MOD, "loss/val").status == "ok"
    loaded = load(tmp_path / "run")
    assert not losses.mixed(loaded)
    assert losses.unit_of(loaded) == (losses.BITS, factor)


def test_a_loss_that_is_open_has_the_number_of_seeds_that_would_decide_it(tmp_path: Path) -> None:
    """The fewest with 80 % power, if difference and spread are as they were estimated; one that is decided has none."""
    made = planted_suite("draft", arms=ARMS, metrics=["loss/val"], seeds=[0, 1, 2, 3], launches=3, rounds=2)
    planted = {"dense": 2.0, MOD: 2.004, "moe": 2.5}
    loaded = load(left(tmp_path, made, losses=planted, run_noise=0.01))
    found = {case.arm: by_length(loaded, "loss/val", case, loaded.arms[0])[128] for case in loaded.arms[1:]}
    assert (found[MOD].verdict, found["moe"].verdict) == ("inconclusive", "worse")
    assert found["moe"].needed is None
    needed, typical = found[MOD].needed, found[MOD].typical
    assert needed is not None
    assert typical.value is not None
    assert typical.half is not None
    sd = typical.half / t_quantile(0.975, 4) * 2
    assert needed > 4
    assert decided(typical.value, sd, needed, 0) >= POWER > decided(typical.value, sd, needed - 1, 0)
