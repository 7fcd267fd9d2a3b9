"""The museum: a run names what a model of each kind does wrong, and accuses no honest model of an odd kind.

A piece is a class of `mistakes.py` or `odd_but_honest.py`, which a run takes as a model of a user's file; `plain.py` says what a
piece says about itself.
"""

from __future__ import annotations

import importlib
import sys
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
METRICS = ("latency/forward", "flops/forward")
TRAIN_STEP = "latency/train_step"
sys.path.append(str(HERE))


def pieces(file: str, said: str) -> dict[str, Any]:
    """The classes of a file that say this about themselves, by name."""
    made = vars(importlib.import_module(file))
    return {name: piece for name, piece in made.items() if hasattr(piece, said)}


MISTAKES, HONEST = pieces("mistakes", "caught"), pieces("odd_but_honest", "told")


def measured(piece: str, dtype: str, out: Path, monkeypatch: pytest.MonkeyPatch, *, train: bool) -> Loaded:
    """The run of dense and one piece through the real passes, in this process; training steps too if so."""
    monkeypatch.chdir(HERE)
    data: dict[str, Any] = {
        "name": "museum",
        "effort": "smoke",
        "metrics": [*METRICS, TRAIN_STEP] if train else [*METRICS],
        "shape": {"d_model": 32, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [16], "dtype": [dtype]},
        "variants": [{"model": "dense"}, {"model": piece}],
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


def test_every_mistake_is_documented() -> None:
    """`docs/method-checks.md` names every label, and the words of every failure."""
    method = (HERE.parents[1] / "docs" / "method-checks.md").read_text(encoding="utf-8")
    assert [name for name, piece in MISTAKES.items() if piece.caught not in method] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = MISTAKES[name].caught
    trains = caught == Label.IDLE_IN_TRAINING
    loaded = measured(f"mistakes.py:{name}", "fp32", tmp_path, monkeypatch, train=trains)
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
        *((name, piece.trains) for name, piece in HONEST.items()),
        *(pytest.param(name, True, marks=pytest.mark.proof) for name, piece in HONEST.items() if not piece.trains),
    ],
)
def test_nobody_honest_is_accused(name: str, train: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = HONEST[name]
    loaded = measured(f"odd_but_honest.py:{name}", piece.dtype, tmp_path, monkeypatch, train=train)
    assert loaded.failed.empty, loaded.failed.reason.tolist()
    assert labels_of(loaded) == piece.told
