"""The gate on losses, which are compared seed by seed, and on counts, which are compared directly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from planted_gate import planted_run
from resealed import reseal

from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import Loaded, load


def edited(folder: Path, made_in: str, metric: str, change: dict[int, float]) -> Loaded:
    """A run of losses and FLOPs whose values of the arm `moe` are changed by so much, by seed."""
    suite = {"metrics": ["flops/forward", "loss/val"], "seeds": [0, 1, 2]}
    run = planted_run(folder, suite=suite)
    for path in (folder / "units").glob(f"{made_in}-*.json"):
        body = json.loads(path.read_text())
        for outcome in body["outcomes"]:
            if outcome["metric"] == metric and outcome["case"].startswith("moe"):
                outcome["samples"]["value"][0] += change.get(body["unit"]["protocol"]["seed"], 0.0)
        reseal(path, body)
    return load(run.path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({}, "pass", "identical, seed by seed"),
        ({0: 0.010, 1: 0.011, 2: 0.012}, "worse", "difference, seed by seed"),  # 0.5 %, shown by all seeds
        ({0: -0.010, 1: -0.011, 2: -0.012}, "better", "difference, seed by seed"),
        ({0: 0.002, 1: -0.001, 2: 0.001}, "pass", "difference, seed by seed"),
        ({0: 0.2, 1: -0.2, 2: 0.1}, "cannot tell", "difference, seed by seed"),
    ],
)
def test_losses_are_judged_seed_by_seed(change: dict[int, float], word: str, reason: str, tmp_path: Path) -> None:
    before, now = (
        edited(tmp_path / "before", "train", "loss/val", {}),
        edited(tmp_path / "now", "train", "loss/val", change),
    )
    found = {each.what.partition("[")[0]: each for each in gate.gate(now, before).findings if each.metric == "loss/val"}
    assert (found["moe"].verdict, found["moe"].reason) == (word, reason)
    assert found["dense"].verdict == "pass"


@pytest.mark.slow
@pytest.mark.parametrize(("more", "word"), [(1e9, "worse"), (-1e7, "better"), (1.0, "pass"), (math.nan, "cannot tell")])
def test_counts_are_judged_by_the_margin(more: float, word: str, tmp_path: Path) -> None:
    before = edited(tmp_path / "before", "count", "flops/forward", {})
    now = edited(tmp_path / "now", "count", "flops/forward", {0: more})
    found = gate.gate(now, before)
    flops = [each for each in found.findings if each.metric == "flops/forward"]
    assert {each.verdict for each in flops if each.what.startswith("moe")} == {word}
    others = "cannot tell" if math.isnan(more) else "pass"  # a number that cannot be damages the whole record
    assert {each.verdict for each in flops if not each.what.startswith("moe")} == {others}
    json.dumps(found.as_dict(), allow_nan=False)
