"""The museum: a run names what a model of each kind does wrong, and accuses no honest model of an odd kind.

One file per mistake, and in `honest/` one per honest model. Each defines `build(config)`, as a user's file does. A mistake says
in `CAUGHT` by which label, or by which words of a failure, it is found; an honest model may say in `TOLD` which labels are true
of it without accusing it, and in `DTYPE` which number format its case has.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

from modbench.harness.core import atomic_files
from modbench.harness.core.labels import Label
from modbench.harness.execution import worker
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry import user_code
from modbench.harness.results import run_folder
from modbench.planted_runs import ENVIRONMENT
from modbench.reports.tables import load
from modbench.reports.tables.load import Loaded

HERE = Path(__file__).parent
MISTAKES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in {"plain", "test_museum"})
HONEST = sorted(path.stem for path in (HERE / "honest").glob("*.py"))
METRICS = ("latency/forward", "flops/forward")
TRAIN_STEP = "latency/train_step"
# Honest models whose training is not their forward pass and its gradient alone; proofs train the others too.
TRAINED = {
    *("capacity_that_training_moves", "custom_gradient", "dropout", "frozen_backbone", "gate_at_its_threshold"),
    *("gate_that_learns", "gradient_checkpointing", "low_rank_adapters", "running_statistics", "spectral"),
    *("tied_weights", "weight_normalised"),
}
# Honest models that meet the guards as another one does; proofs run them.
LIKE_OTHERS = {
    "bf16_case",  # bf16_with_fp32_inside
    "chosen_tokens_twice",  # tests/models/test_guards.py
    "float64_inside",  # bf16_with_fp32_inside
    "fourier_mixing",  # convolution
    "frozen_backbone",  # low_rank_adapters
    "recurrence_gru",  # recurrence_lstm
    "scan_by_hand",  # recurrence_lstm
    "weight_normalised",  # spectral
}


def says(file: str) -> dict[str, Any]:
    """What a file says about itself, without loading it."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    plain = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    named = {node.targets[0].id: node.value for node in plain if isinstance(node.targets[0], ast.Name)}
    return {name: ast.literal_eval(value) for name, value in named.items() if name in {"CAUGHT", "TOLD", "DTYPE"}}


def measured(file: str, dtype: str, out: Path, monkeypatch: pytest.MonkeyPatch, *, train: bool) -> Loaded:
    """The run of dense and one piece through the real passes, in this process; training steps too if so."""
    monkeypatch.chdir(HERE)
    monkeypatch.syspath_prepend(HERE)
    data: dict[str, Any] = {
        "name": "museum",
        "effort": "smoke",
        "metrics": [*METRICS, TRAIN_STEP] if train else [*METRICS],
        "shape": {"d_model": 32, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [16], "dtype": [dtype]},
        "variants": [{"model": "dense"}, {"model": f"{file}:build"}],
        "aa_control": False,
    }
    plan = make_plan(override(parse_suite(data, "museum"), Overrides()), device="cpu", text=None)
    folder = run_folder.create(str(out / "run"), "museum")
    folder.write_run(plan, ENVIRONMENT, [], atomic_files.now())
    for job in plan.jobs:
        user_code._MODULES.clear()  # each has a process of its own
        torch.manual_seed(0)
        record = worker.make_record(job)
        folder.write_record(record)
    return load.load(str(folder.path))


def labels_of(loaded: Loaded, *, dense: bool = False) -> set[str]:
    """Labels of the user's variant, or of the other one, in `cases.csv`; what the machine did meanwhile accuses nobody."""
    mine = loaded.cases[(loaded.cases.variant == "dense") == dense]
    return {label for cell in mine.labels.dropna() for label in cell.split(";")} - {Label.NOISY}


def test_the_museum_is_large_enough_and_documented() -> None:
    """`docs/method-guards.md` names every label, and the words of every failure."""
    assert len(MISTAKES) >= 12
    assert len(HONEST) >= 20
    assert {*HONEST} >= TRAINED | LIKE_OTHERS
    method = (HERE.parents[1] / "docs" / "method-guards.md").read_text(encoding="utf-8")
    assert [name for name in MISTAKES if says(f"{name}.py")["CAUGHT"] not in method] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = says(f"{name}.py")["CAUGHT"]
    trains = caught == Label.IDLE_IN_TRAINING
    loaded = measured(f"{name}.py", "fp32", tmp_path, monkeypatch, train=trains)
    if caught in set(Label):
        assert caught in labels_of(loaded)
    else:
        assert any(caught in str(reason) for reason in loaded.failed.reason)
    # The other variant of the process is timed, and wears no label.
    dense = loaded.cases[(loaded.cases.variant == "dense") & loaded.cases.metric.isin((*METRICS, TRAIN_STEP))]
    assert set(dense.status) == {"ok"}
    assert labels_of(loaded, dense=True) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train"),
    [
        *(
            pytest.param(name, name in TRAINED, marks=pytest.mark.proof if name in LIKE_OTHERS else ())
            for name in HONEST
        ),
        *(pytest.param(name, True, marks=pytest.mark.proof) for name in HONEST if name not in TRAINED),
    ],
)
def test_nobody_honest_is_accused(name: str, train: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = says(f"honest/{name}.py")
    loaded = measured(f"honest/{name}.py", said.get("DTYPE", "fp32"), tmp_path, monkeypatch, train=train)
    assert loaded.failed.empty, loaded.failed.reason.tolist()
    assert labels_of(loaded) == set(said.get("TOLD", ()))
