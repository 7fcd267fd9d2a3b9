"""Workers: how they are started and ended, what they see of their surroundings, and what is left when they go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modbench.harness.core import files
from modbench.harness.core.errors import UsageError
from modbench.harness.execution import unit as one_unit
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.planning.suite import parse_suite
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder

MODELS = """
import os, signal, torch
def good(config):
    print("hello from the model", flush=True)
    return torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, 8), torch.nn.Linear(8, config.vocab_size))
def dies(config):
    os.kill(os.getpid(), signal.SIGSEGV)
def exits(config):
    os._exit(9)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(MODELS)
    return tmp_path


def planned(model: str) -> Plan:
    """A count and a memory unit of a user's model beside the dense one."""
    data: dict[str, Any] = {
        "name": "workers",
        "effort": "smoke",
        "metrics": ["memory/peak_allocated"],
        "shape": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [8]},
        "arms": [{"model": "dense"}, {"model": f"own.py:{model}"}],
    }
    return make_plan(override(parse_suite(data, "workers"), Overrides()), device="cpu")


def folder_of(made: Plan, here: Path) -> RunFolder:
    folder = run_folder.create(str(here / "run"), "workers")
    folder.write_run(made, {}, [], files.now())
    return folder


def run_one(folder: RunFolder, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modbench.harness.execution.unit", str(folder.path), name, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=dict(os.environ))


@pytest.mark.slow
def test_a_unit_runs_by_its_name_alone(here: Path) -> None:
    made = planned("good")
    folder = folder_of(made, here)
    done = run_one(folder, made.units[0].name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    stored = run_folder.read(str(folder.path))
    assert [record.unit for record in stored.records] == [made.units[0]]
    assert "hello from the model" in folder.log(made.units[0]).read_text()


@pytest.mark.slow
def test_a_unit_that_dies_ends_with_its_code_and_runs_without_users_models(here: Path) -> None:
    made = planned("exits")
    folder = folder_of(made, here)
    unit = made.units[-1]
    assert run_one(folder, unit.name).returncode == 9
    assert not folder.record(unit).exists()
    assert run_one(folder, unit.name, "--shipped").returncode == 0
    assert [case.model for case in run_folder.read_record(folder.record(unit)).unit.comparison.arms] == ["dense"]


def test_a_unit_that_is_not_in_the_plan_is_named(here: Path) -> None:
    made = planned("good")
    folder = folder_of(made, here)
    with pytest.raises(UsageError, match="unknown unit"):
        one_unit.planned(folder.path, "../../notes")
    with pytest.raises(UsageError, match="no plan can be read"):
        one_unit.planned(here, made.units[0].name)
    (folder.path / "run.json").write_text("[]")
    with pytest.raises(UsageError, match="no plan can be read"):
        one_unit.planned(folder.path, made.units[0].name)
