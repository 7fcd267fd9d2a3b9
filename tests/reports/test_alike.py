"""Variants that differ in a setting and agree bit for bit in FLOPs, parameters and losses are labelled."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modbench.harness.core.labels import Label
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.html_report import render
from modbench.reports.questions.found_warnings import doubts
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import printed_run

VARIANTS: list[dict[str, Any]] = [
    {"model": "dense"},
    {"model": "mod", "capacity": 0.125},
    {"model": "mod", "capacity": 0.125, "multiplier": "sigmoid"},
    {"model": "mod", "capacity": 0.5},
]


def labelled(
    tmp_path: Path, variants: list[dict[str, Any]], losses: dict[str, float] | None = None, **suite: Any
) -> Any:
    settings = {"metrics": ["flops/forward", "loss/val"], "variants": variants, "seeds": [0, 1]} | suite
    loaded = load(planted_run(tmp_path, planted_plan("draft", **settings), losses=losses or {}))
    render.views(loaded, ["csv"])
    rows = read(loaded, "cases.csv")
    assert not rows.empty
    return loaded, {*rows[rows.labels.str.contains(Label.SAME)].variant}


def read(loaded: Loaded, file: str) -> pd.DataFrame:
    return pd.read_csv(loaded.path / file, dtype=str, keep_default_na=False)


@pytest.mark.usefixtures("undrawn")
def test_two_settings_that_are_one_model_are_labelled_everywhere(tmp_path: Path) -> None:
    loaded, found = labelled(tmp_path, VARIANTS)
    assert len(found) == 2
    assert {case.variant for case in loaded.labelled[Label.SAME]} == found
    pairs = read(loaded, "comparisons.csv")
    assert {*pairs[pairs.labels.str.contains(Label.SAME)].variant} == found
    assert Label.SAME in " ".join(printed_run.closing(loaded, "page", None).split()).lower()
    said = {said for doubt in doubts(loaded) for said, _ in doubt.findings if "multiplier" in said}
    assert len(said) == 1
    assert html.escape(said.pop()) in render.html(loaded)


@pytest.mark.parametrize(
    ("variants", "suite"),
    [
        # FLOPs differ, at whatever loss.
        ([*VARIANTS[:2], VARIANTS[3]], {}),
        # What only matters to a model that generates.
        ([*VARIANTS[:2], VARIANTS[1] | {"decode_policy": "masked"}, VARIANTS[1] | {"prefill": "top_k"}], {}),
        # Without a loss nobody can tell.
        (VARIANTS, {"metrics": ["flops/forward"], "train": None}),
        # Two models, not two settings.
        ([{"model": "dense"}, {"model": "mod", "capacity": 0.125}, {"model": "moe"}], {}),
    ],
)
def test_variants_that_may_be_as_they_are_wear_no_label(
    tmp_path: Path, variants: list[dict[str, Any]], suite: Any
) -> None:
    assert labelled(tmp_path, variants, **suite)[1] == set()


def test_a_loss_that_differs_in_its_last_bit_is_another_loss(tmp_path: Path) -> None:
    names = {case.variant for case in planted_plan("draft", variants=VARIANTS).cases}
    one, other = sorted(name for name in names if name.startswith("mod[c0.125"))
    same = dict.fromkeys(names, 2.0)
    assert labelled(tmp_path / "same", VARIANTS, same)[1] == {one, other}
    assert labelled(tmp_path / "not", VARIANTS, same | {other: math.nextafter(2.0, 4.0)})[1] == set()


def test_an_anchors_aa_control_is_no_setting(tmp_path: Path) -> None:
    metrics = ["flops/forward", "latency/forward", "loss/val"]
    loaded, found = labelled(tmp_path, VARIANTS[:2], metrics=metrics, aa_control=True)
    assert not loaded.aa_controls.empty
    assert found == set()
