"""The allocator's peak beside the forecast, and a variant that does not fit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from present import present

from modbench.harness.call.step_peak_memory import of_training
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, GridPoint
from modbench.harness.planning.flops.closed_form import closed_form
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.results import run_folder

MIB = 2**20


@pytest.fixture(autouse=True)
def _empty_card() -> Iterator[None]:
    yield
    gc.collect()
    torch.cuda.empty_cache()


def case(model: str = "dense", dtype: str = "bf16", **shape: Any) -> Case:
    seq_len = shape.pop("seq_len", 1024)
    grid_point = GridPoint.model_validate(
        {"seq_len": seq_len, "batch_size": 2, "dtype": dtype, "device": "cuda", "threads": 1, "compile": False}
    )
    options = {"capacity": 0.125} if model == "mod" else {}
    config = ModelConfig.model_validate({"d_model": 1024, "n_layers": 4, "max_seq_len": seq_len, **options, **shape})
    return with_facts(Case(model=model, variant_parts=(), config=config, grid_point=grid_point))


@pytest.mark.usefixtures("real_card")
@pytest.mark.parametrize("model", ["dense", "mod"])
def test_the_peak_is_near_the_forecast(model: str) -> None:
    """Fused kernels keep less than the closed form says, which was calibrated on a CPU: never more, and not much less."""
    one = case(model)
    peak = of_training(Subject(one, 0))
    forecast = closed_form(model, one.config, one.grid_point.seq_len, one.grid_point.batch_size).memory_train(2)
    assert 0.7 * forecast < peak.peak < 1.1 * forecast, f"{peak.peak / MIB:.0f} MiB, forecast {forecast / MIB:.0f} MiB"
    assert 3 * closed_form(model, one.config, 1, 1).params * 2 <= peak.resident < peak.peak  # weights and two moments
    assert present(peak.reserved) >= peak.peak - 64 * MIB
    assert peak.retries == 0


OOM = """
effort = "smoke"
device = "cuda"
metrics = ["latency/forward", "memory/peak_allocated"]
shape = { vocab_size = 256, d_model = 256, n_layers = 2 }
grid = { seq_len = [256], dtype = ["bf16"] }
variants = [{ model = "dense" }, { model = "dense", n_layers = 48, d_ff = 4194304, d_model = 4096 }]
"""


@pytest.mark.usefixtures("real_card")
@pytest.mark.slow
def test_what_does_not_fit_is_one_failed_cell(tmp_path: Path) -> None:
    """A model of terabytes beside a small one: it fails with `oom`, and its neighbour has numbers."""
    suite = tmp_path / "oom.toml"
    suite.write_text(OOM, encoding="utf-8")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "modbench", "run", str(suite), "-o", str(run)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    outcomes = [o for record in run_folder.read(str(run)).records for o in record.outcomes]
    timed = {o.case: o for o in outcomes if o.metric == "latency/forward"}
    large = next(name for name in timed if "d_model4096" in name)
    (small,) = (name for name in timed if name != large)
    assert timed[small].status == "ok"
    assert (timed[large].status, timed[large].kind) == ("failed", "oom")
