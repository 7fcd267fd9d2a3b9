"""Losses in one unit: with other tokens than the baseline's only bits per byte compare, and nothing else is said to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from planted import stored
from planted_losses import MOD, RISES, VARIANTS, at_two_lengths, planned
from present import present

from modbench.harness.core.contracts import Text
from modbench.harness.domain.case import Case
from modbench.harness.planning.plan import make_plan
from modbench.harness.stats import effects
from modbench.harness.stats.effects import POWER
from modbench.harness.stats.power import prospect
from modbench.harness.stats.verdicts import Rule, estimated
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.blocks import Estimate, Finding, Table
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import compare_axis, value_tables
from modbench.reports.sections import loss_curves, numbers
from modbench.reports.tables import losses
from modbench.reports.tables.claims import judge
from modbench.reports.tables.load import load
from modbench.reports.tables.pairs import by_length


@pytest.mark.parametrize(
    ("tokens_of", "apart", "unit"),
    [
        ("mod", True, (losses.BITS, 1 / math.log(2))),
        # Of one tokenizer all compare. The factor to bits per byte is that of the tokens.
        (None, False, (losses.BITS, 1 / math.log(2))),
        ("", False, (losses.BITS, 1.0)),
    ],
    ids=["another model's", "bytes", "all of one other"],
)
def test_losses_of_other_tokens_are_not_compared(
    tokens_of: str | None, apart: bool, unit: tuple[str, float], tmp_path: Path
) -> None:
    rows = stored(tmp_path, planned(tokens_of), losses={"dense": 2.0, "dense-f0.58": 2.2, MOD: 1.0, "moe": 2.1})
    status = rows[rows.baseline_variant == "dense"].set_index(["variant", "metric"])[["status", "reason"]]
    for metric in ("loss/val", "loss/val_causal"):
        assert status.loc[(MOD, metric), "status"] == ("skipped" if apart else "ok")
        assert status.loc[("moe", metric), "status"] == "ok"
        assert not apart or "bpb/val does" in str(status.loc[(MOD, metric), "reason"])
    assert status.loc[(MOD, "bpb/val"), "status"] == "ok"
    loaded = load(tmp_path / "run")
    assert losses.mixed(loaded) is apart
    assert apart is ([each.metric for each in losses.shown(loaded)] == ["bpb/val"])
    assert apart or losses.unit_of(loaded) == unit


def test_a_loss_stands_beside_the_length_that_it_was_trained_at(tmp_path: Path) -> None:
    loaded = at_two_lengths(tmp_path)
    table: Any = value_tables.loss_table(loaded)
    assert [*map(plain, table.head[1:])] == ["T = 64", "T = 128"]
    cells = next(each[1:] for each in table.rows if isinstance(each[0], Case) and each[0].variant == MOD)
    bits = [each.typical.value for each in cells if isinstance(each, Finding)]
    assert bits == pytest.approx([rise / math.log(2) for rise in RISES.values()], abs=0.05)
    # One column for each length, in which a variant of another length is not.
    by = compare_axis.compare_by(loaded, "capacity", keep=compare_axis.Filter(("loss/val_causal",)))
    assert [each.heading for each in by.columns] == [(("seq_len", 64),), (("seq_len", 128),)]
    by = compare_axis.compare_by(loaded, "seq_len", keep=compare_axis.Filter(("loss/val_causal",)))
    assert {heading for each in by.columns for heading, _ in each.heading} == {"variant"}


def test_beside_a_length_that_nothing_was_trained_at_stands_the_longest(tmp_path: Path) -> None:
    made = planted_plan("draft", grid={"seq_len": [64, 256]}, train={"seq_len": [64, 128], "batch_size": [2, 1]})
    stored(tmp_path, made)
    loaded = load(tmp_path / "run")
    assert [losses.beside(loaded, length) for length in (64, 128, 256)] == [64, 128, 128]


def test_where_a_selection_leaves_no_training_run_there_are_no_curves(tmp_path: Path) -> None:
    whole = planted_plan("smoke")
    made = make_plan(whole.suite, device="cpu", select="T64", text=Text("t", b"a" * 500, b"b" * 500, "c0ffee"))
    loaded = load(planted_run(tmp_path, made))
    assert loaded.trained_metric == "loss/val"
    assert not [*loss_curves.render(loaded)]


def test_a_loss_that_is_open_has_the_number_of_seeds_that_would_decide_it(tmp_path: Path) -> None:
    """The fewest with 80 % power, if difference and spread are as they were estimated; one that is decided has none."""
    made = planted_plan("draft", variants=VARIANTS, metrics=["loss/val"], seeds=[0, 1, 2, 3], processes=3, rounds=2)
    planted = {"dense": 2.0, MOD: 2.004, "moe": 2.5}
    loaded = load(planted_run(tmp_path, made, losses=planted, run_noise=0.01))
    found = {case.variant: by_length(loaded, "loss/val", case, loaded.variants[0])[128] for case in loaded.variants[1:]}
    assert (found[MOD].verdict, found["moe"].verdict) == ("inconclusive", "worse")
    assert found["moe"].needed is None
    needed = present(found[MOD].needed)
    assert needed > 4
    by_variant = {case.variant: loaded.tables.cell(case.id, "loss/val").values() for case in loaded.plan.cases}
    apart = effects.by_seed(by_variant[MOD], by_variant["dense"])
    enough, few = (
        prospect(Rule("loss", 0.0).decides, -apart.value, present(apart.sd), (n,)).power for n in (needed, needed - 1)
    )
    assert enough >= POWER > few


def test_a_loss_that_is_open_for_its_many_comparisons_alone_has_no_number_of_seeds() -> None:
    """Its interval excludes none already."""
    values = [[0.01, 0.03, 0.02, 0.04, 0.005], *[[-0.01, 0.01, 0.01, 0.02, -0.005]] * 7]
    rows = [
        {
            "metric": "loss/val",
            "reason": None,
            "labels": None,
            "contrast": estimated(effects.over_processes(each), Rule("loss", 0.0)),
        }
        for each in values
    ]
    judge(rows, claims=True)
    first, *others = rows
    assert first["verdict"] == "inconclusive"
    assert first["seeds_needed"] is None
    assert "among 8 comparisons" in str(first["reason"])
    assert all(each["seeds_needed"] for each in others)


def test_a_page_has_one_unit_of_loss(tmp_path: Path) -> None:
    """Tokens are bytes: a loss in nats per token is shown in bits per byte, as in every other table."""
    made = planted_plan(
        "draft", variants=VARIANTS, metrics=["loss/val", "bpb/val"], seeds=[0, 1, 2], processes=3, rounds=2
    )
    loaded = load(planted_run(tmp_path, made, losses={"dense": 2.0, MOD: 2.25, "moe": 2.5}, run_noise=0.01))
    (table,) = (each for each in numbers.every_pair(loaded) if isinstance(each, Table))
    units = {cell.unit for cells in table.rows for cell in cells if isinstance(cell, Estimate)}
    assert units & {"nat", "bit/B"} == {"bit/B"}
