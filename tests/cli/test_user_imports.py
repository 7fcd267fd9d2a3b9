"""A user's model finds its neighbours in its file's folder, then in the one where the command was started: in every job."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from in_process import succeeded
from resealed import reseal_with

from modbench import api
from modbench.harness.call.subject.build import build_module
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.execution import resuming
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.planning.overrides import Overrides
from modbench.harness.registry import user_code
from modbench.harness.registry.user_models import load_user_model
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder, read
from modbench.planted_runs import planted_plan

# What it registers for its process cannot be registered again, and each time that it runs leaves a line beside it.
BUILD = """
import os, re, torch
from helper import SAYS, WIDTH
LIBRARY = torch.library.Library(re.sub("[^a-z0-9]", "_", __file__), "DEF")
with open(__file__ + ".ran", "a") as file:
    print(os.getpid(), file=file)
def build(config):
    module = torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, WIDTH), torch.nn.Linear(WIDTH, config.vocab_size))
    module.says = SAYS
    return module
"""
SUITE = """
name = "tiny"
effort = "smoke"
metrics = ["flops/forward", "latency/forward"]
grid = { seq_len = [16] }
shape = { d_model = 16, n_layers = 1, n_heads = 1 }
variants = [{ model = "sub/mine.py:build" }, { model = "flat:build" }, { model = "other/mine.py:build" }]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project: `sub/mine.py` uses a neighbour in the current folder, `other/mine.py` has one of that name of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(user_code, "_FOLDERS", set())
    monkeypatch.setattr(user_code, "_USED", set())
    monkeypatch.setattr(user_code, "_ASIDE", {})
    (tmp_path / "tiny.toml").write_text(SUITE)
    (tmp_path / "helper.py").write_text("SAYS, WIDTH = 'current', 8\n")
    (tmp_path / "flat.py").write_text(BUILD)
    for folder in ("sub", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(BUILD)
    (tmp_path / "other" / "helper.py").write_text("SAYS, WIDTH = 'other', 16\n")
    before = set(sys.modules)
    yield tmp_path
    sys.path_importer_cache.clear()
    for name in set(sys.modules) - before:
        if name in {"helper", "flat", "late", "other", "other.mine", "other.helper"} or name.startswith(
            "modbench_user"
        ):
            del sys.modules[name]


def ran(file: Path) -> int:
    """How often a file ran."""
    return len(Path(f"{file}.ran").read_text().splitlines())


def says(spec: str) -> str:
    return str(load_user_model(spec)(ModelConfig.model_validate({"d_model": 16})).says)


def test_each_model_finds_its_own_neighbour_whatever_was_built_before(here: Path) -> None:
    expected = {"sub/mine.py:build": "current", "other/mine.py:build": "other", "flat:build": "current"}
    for spec in [*expected, *reversed(expected), *expected]:
        assert says(spec) == expected[spec], spec
    assert [Path(entry) for entry in sys.path[:1]] == [here]


def test_a_neighbour_is_imported_once_and_one_that_gave_way_comes_back_as_it_was(here: Path) -> None:
    says("sub/mine.py:build")
    mine = sys.modules["helper"]
    says("other/mine.py:build")
    assert sys.modules["helper"] is not mine
    assert str(sys.modules["helper"].__file__).startswith(str(here / "other"))
    says("flat:build")
    assert sys.modules["helper"] is mine


@pytest.mark.parametrize("first", ["other/mine.py:build", "other.mine:build", "imports_it.py:build"])
def test_a_process_runs_a_file_once_under_whatever_names_it_is_loaded(here: Path, first: str) -> None:
    (here / "imports_it.py").write_text("from other.mine import build\n")
    file = here / "other" / "mine.py"
    file.write_text(BUILD.replace("from helper import", "from other.helper import"))
    for spec in (first, "other/mine.py:build", "other.mine:build", "imports_it.py:build", str(file) + ":build"):
        assert says(spec) == "other"
    assert ran(file) == 1
    file.write_text(file.read_text().replace("DEF", "FRAGMENT"))
    assert says("other/mine.py:build") == "other"
    assert ran(file) == 2, "an edited file is another one"


def test_a_file_that_raised_is_run_again(here: Path) -> None:
    file = here / "flat.py"
    file.write_text(f"{BUILD}if not os.path.exists('ready'): raise OSError('not yet')\n".replace("LIBRARY", "#"))
    with pytest.raises(OSError, match="not yet"):
        says("flat.py:build")
    (here / "ready").touch()
    assert says("flat.py:build") == "current"
    assert ran(file) == 2


def test_what_a_file_draws_moves_no_weight_of_a_later_build(here: Path) -> None:
    """A file runs before the first build alone, and before any on shapes alone; all builds of a seed are equal."""
    (here / "flat.py").write_text(
        "import torch\nTABLE = torch.randn(3)\n"
        "def build(config):\n    made = torch.nn.Linear(2, 2)\n    made.table = TABLE\n    return made\n"
    )
    plan = api.make_plan("tiny.toml", Overrides(model=("flat.py:build",), only=True, device="cpu"))
    (case,) = (each for each in plan.cases if each.is_user_model)
    with torch.device("meta"):
        assert build_module(case, 3).weight.is_meta
    first, second = (cast("Any", build_module(case, 3)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert not first.table.is_meta
    user_code._MODULES.clear()  # as in another process
    assert torch.equal(cast("Any", build_module(case, 3)).weight, second.weight)


def test_what_a_model_imports_when_it_is_called_is_found_too(here: Path) -> None:
    (here / "sub" / "late.py").write_text("VALUE = 7\n")
    (here / "sub" / "mine.py").write_text(
        "def build(config):\n    def call():\n        import late\n        return late.VALUE\n    return call\n"
    )
    call = load_user_model("sub/mine.py:build")(None)
    load_user_model("other/mine.py:build")
    user_code.search_all()
    assert call() == 7


@pytest.mark.slow
def test_every_job_of_a_run_finds_them_in_forked_processes(here: Path, modbench: Any) -> None:
    succeeded(modbench("run", "tiny.toml", "-o", "run", "-q", "--device", "cpu", cwd=here))
    outcomes = [outcome for record in read("run").records for outcome in record.outcomes]
    assert {outcome.case.partition("[")[0] for outcome in outcomes if outcome.metric == "latency/forward"} == {
        "mine:build",
        "flat:build",
    }
    assert [outcome for outcome in outcomes if outcome.status == "failed"] == []
    processes = (here / "sub" / "mine.py.ran").read_text().splitlines()
    assert len(processes) == len({*processes}) >= 2, "one counts, one times"


@pytest.mark.slow
def test_a_job_finds_them_in_a_fresh_interpreter(here: Path) -> None:
    """As from standard effort up, and on a cluster. The first model that is built has its neighbour in the current folder."""
    plan = api.make_plan("tiny.toml", Overrides(device="cpu"))
    folder = api.new_folder(plan, str(here / "run"))
    folder.write_run(plan, {}, ["modbench"], "now")
    (job,) = (each for each in plan.jobs if each.made_in == "count")
    launcher = LocalLauncher(cold=True, threads=1)
    handle = launcher.start(job, folder, 200.0)
    while not launcher.wait([handle], 1.0):
        pass
    launcher.end(handle)
    assert handle.exitcode == 0
    assert {outcome.status for outcome in read_record(folder.record(job), job).outcomes} <= {"ok", "skipped"}


def test_a_run_is_resumed_from_the_folder_in_which_it_was_started(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = api.make_plan("tiny.toml", Overrides(model=(f"{here}/sub/mine.py:build",), only=True, device="cpu"))
    folder = RunFolder(here / "run")
    api.new_folder(plan, "run").write_run(plan, {"packages": {}}, ["modbench"], "now")
    resuming.check_unchanged(read(str(folder.path)), (), allowed=False)
    monkeypatch.chdir(here / "other")
    with pytest.raises(UsageError, match=f"was started in {here}, .* cd {here} && modbench resume {here / 'run'}"):
        resuming.check_unchanged(read(str(folder.path)), (), allowed=True)
    for elsewhere in (None, str(here / "gone")):  # of a run that was packed, or the project was moved
        reseal_with(folder.path / "run.json", operator.methodcaller("update", started_in=elsewhere))
        resuming.check_unchanged(read(str(folder.path)), (), allowed=True)


def test_a_run_without_models_of_ones_own_is_resumed_from_anywhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planted_plan("draft", metrics=["latency/forward"], train=None)
    api.new_folder(plan, "run").write_run(plan, {"packages": {}}, ["modbench"], "now")
    monkeypatch.chdir(here / "other")
    resuming.check_unchanged(read(str(here / "run")), (), allowed=False)
