"""Shipped suites give the plans that they gave: cases and their costs, comparisons, matched baselines, and every job.

`MODBENCH_GOLDEN=write pytest tests/goldens` writes them anew, as it does what is made of stored runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, Literal

import goldens
import pytest
from plant import TEXT

from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.registry import catalogue

HERE = goldens.HERE / "plans"
# Suites of the core, and one with every model as it is shipped.
NAMES = ("quick", "capacity", "decode", "gpu", "grid", "no-ops", "every-model")


def planned(name: str) -> Plan:
    device: Literal["cpu", "cuda"] = "cuda" if name == "gpu" else "cpu"
    if name != "every-model":
        return make_plan(load_suite(name), device=device, text=TEXT)
    models = [each for each, entry in catalogue.entries("models").items() if not entry.plugin]
    metrics = ["flops/train_step", "latency/prefill", "latency/decode", "memory/peak_allocated", "loss/val"]
    grid = {"seq_len": [64, 96], "batch_size": [1, 3], "dtype": ["fp32", "bf16"]}
    suite: dict[str, Any] = {"name": name, "metrics": metrics, "grid": grid, "shape": {"d_model": 48, "n_layers": 6}}
    suite |= {"effort": "standard", "seeds": [0, 1], "aa_control": True, "train": {"tokens": 4096, "val_tokens": 1024}}
    suite["variants"] = [{"model": "dense", "baseline": True}, *({"model": each} for each in models if each != "dense")]
    return make_plan(parse_suite(suite, name), device=device, text=TEXT)


def told(plan: Plan) -> Iterator[object]:
    """What a plan holds, a line each, without what every case or job repeats."""
    yield plan.model_dump(mode="json", exclude_defaults=True, exclude={"comparisons", "jobs"})
    for case in plan.cases:
        cost = case_cost(case)
        assert cost is not None
        exact = hashlib.sha256(repr(cost).encode()).hexdigest()[:12]  # of integers: the same everywhere
        yield {"case": case.id, "config": case.config.model_dump(exclude_defaults=True), **cost.parts, "cost": exact}
    for comparison in plan.comparisons:
        yield comparison.label, [case.id for case in comparison.variants], comparison.metrics, comparison.aa_control
    for job in plan.jobs:
        about = job.model_dump(mode="json", exclude_defaults=True, exclude={"comparison", "name", "facts"})
        yield job.name, job.comparison.label, about


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_a_suite_gives_the_plan_that_it_gave(name: str) -> None:
    text = "".join(f"{json.dumps(each)}\n" for each in told(planned(name)))
    path = HERE / f"{name}.txt"
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert goldens.first_difference("data", path.read_text(encoding="utf-8"), text) == ""
