"""Variants that differ in a setting and agree bit for bit in FLOPs, parameters and losses are labelled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from modbench.harness.core.labels import Label
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.questions.found_warnings import doubts
from modbench.reports.tables.load import Loaded, load

MOD = {"model": "mod", "capacity": 0.125}
VARIANTS: list[dict[str, Any]] = [
    {"model": "dense"},
    MOD,
    MOD | {"multiplier": "sigmoid"},
    {"model": "mod", "capacity": 0.5},
]
EQUAL = dict.fromkeys(("dense", "mod[c0.125-sigmoid]", "mod[c0.125]", "mod[c0.5]"), 2.0)
ONE, OTHER = "mod[c0.125-sigmoid]", "mod[c0.125]"


def run(folder: Path, suite: dict[str, Any], losses: dict[str, float] | None = None) -> Loaded:
    settings = {"metrics": ["flops/forward", "loss/val"], "variants": VARIANTS, "seeds": [0, 1]} | suite
    return load(planted_run(folder, planted_plan("draft", **settings), losses=losses or {}))


def test_two_settings_that_are_one_model_are_labelled_everywhere(tmp_path: Path) -> None:
    loaded = run(tmp_path, {}, EQUAL)
    for worn in (loaded.cases, loaded.pairs):
        assert {*worn[worn.labels.fillna("").str.contains(Label.SAME)].variant} == {ONE, OTHER}
    assert {case.variant for case in loaded.labelled[Label.SAME]} == {ONE, OTHER}
    assert len({said for doubt in doubts(loaded) for said, _ in doubt.findings if "multiplier" in said}) == 1


@pytest.mark.parametrize(
    ("suite", "losses"),
    [
        ({"variants": [*VARIANTS[:2], VARIANTS[3]]}, {}),  # FLOPs differ, at whatever loss
        ({}, EQUAL | {OTHER: math.nextafter(2.0, 4.0)}),
        # What only matters to a model that generates.
        ({"variants": [*VARIANTS[:2], MOD | {"decode_policy": "masked"}, MOD | {"prefill": "top_k"}]}, {}),
        ({"metrics": ["flops/forward"], "train": None}, {}),  # without a loss nobody can tell
        ({"variants": [*VARIANTS[:2], {"model": "moe"}]}, {}),  # two models, not two settings
        (
            {"variants": VARIANTS[:2], "metrics": ["flops/forward", "latency/forward", "loss/val"], "aa_control": True},
            {},
        ),
    ],
    ids=["FLOPs", "last bit of a loss", "generation", "no loss", "two models", "an A/A control"],
)
def test_variants_that_may_be_as_they_are_wear_no_label(
    suite: dict[str, Any], losses: dict[str, float], tmp_path: Path
) -> None:
    loaded = run(tmp_path, suite, losses)
    assert not loaded.cases.labels.fillna("").str.contains(Label.SAME).any()
    assert loaded.aa_controls.empty is ("aa_control" not in suite)
