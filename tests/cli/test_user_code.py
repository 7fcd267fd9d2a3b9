"""What was hashed and agreed to is what runs: no file of the current folder, no compiled file, no later version."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import py_compile
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from planted import left, planted_suite
from resealed import reseal_with

from modbench import api
from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import now
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import Missing, Record
from modbench.harness.execution import worker
from modbench.harness.planning.overrides import Overrides
from modbench.harness.registry import catalogue, discovery, user_code, user_models
from modbench.harness.results import trust
from modbench.harness.results.outcomes import attempt
from modbench.harness.results.run_folder import RunFolder, read
from modbench.harness.results.sealed_records import read_record
from modbench.reports.questions.machine import warnings
from modbench.reports.tables.load import load
from modbench.reports.writers.number_format import plain

pytestmark = pytest.mark.slow

BUILD = """
import torch
def build(config):
    return torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, 16), torch.nn.Linear(16, config.vocab_size))
"""
SUITE = """
name = "tiny"
effort = "smoke"
metrics = ["flops/forward"]
arms = [{ model = "dense" }]
grid = { seq_len = [16] }
shape = { d_model = 16, n_layers = 1, n_heads = 1 }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(user_code, "_FOLDERS", set())
    monkeypatch.setattr(user_code, "_MODULES", {})
    monkeypatch.setattr(user_code, "_RAN", {})  # what these tests edit is no file of a later one's run
    yield tmp_path
    user_code.expect({})
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.split(".")[0] in {"mine", "package"} or "modbench_user" in name]:
        del sys.modules[name]


def planned(here: Path, *models: str) -> RunFolder:
    (here / "tiny.toml").write_text(SUITE)
    plan = api.make_plan(str(here / "tiny.toml"), Overrides(model=models, device="cpu"))
    folder = api.new_folder(plan, str(here / "run"))
    folder.write_run(plan, {}, ["modbench"], now())
    return folder


@pytest.mark.skipif(os.name != "posix", reason="looks for the command beside Python")
def test_nothing_in_the_current_folder_is_imported(here: Path) -> None:
    """Python puts it first on the path of processes that it starts with -c and -m."""
    (here / "tiny.toml").write_text(SUITE)
    for name in ("selectors", "multiprocessing", "signal", "torch", "numpy", "scipy"):
        (here / f"{name}.py").write_text(f"open({str(here / 'mark')!r}, 'a').write('{name} ')\n")
    command = [str(Path(sys.executable).with_name("modbench")), "run", "tiny.toml", "-o", "run"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (here / "mark").exists(), (here / "mark").read_text()


@pytest.mark.parametrize("spec", ["mine.py:build", "mine:build", "package.inner:build", "caller.py:build"])
@pytest.mark.parametrize(
    "mode", [py_compile.PycInvalidationMode.UNCHECKED_HASH, py_compile.PycInvalidationMode.TIMESTAMP]
)
def test_a_compiled_file_beside_the_source_is_not_run(
    here: Path, spec: str, mode: py_compile.PycInvalidationMode
) -> None:
    (here / "package").mkdir()
    (here / "package" / "__init__.py").write_text("")
    (here / "caller.py").write_text("from mine import build\n")
    for file in (here / "mine.py", here / "package" / "inner.py"):
        harm = "#" * (len(BUILD) - 22) + "\nraise SystemExit(666)"
        assert len(harm) == len(BUILD)
        file.write_text(harm)
        os.utime(file, (1e9, 1e9))
        py_compile.compile(str(file), invalidation_mode=mode)
        file.write_text(BUILD)
        os.utime(file, (1e9, 1e9))  # the same size and time: Python sees no difference
    build = user_models.load_user_model(spec)
    assert callable(build)


def test_a_file_that_changed_is_not_run(here: Path) -> None:
    file = here / "mine.py"
    file.write_text(BUILD)
    user_code.expect({str(file): hashlib.sha256(file.read_bytes()).hexdigest()})
    assert callable(user_models.load_user_model("mine.py:build"))
    file.write_text("# better\n" + BUILD)
    for spec in ("mine.py:build", "mine:build"):
        with pytest.raises(UsageError, match=r"mine\.py changed.*--trust"):
            user_models.load_user_model(spec)


def test_a_worker_runs_what_the_run_began_with(here: Path) -> None:
    file = here / "mine.py"
    file.write_text(BUILD)
    folder = planned(here, "mine.py:build")
    unit = next(unit for unit in read(str(folder.path)).plan.units if unit.made_in == "count")
    file.write_text("# edited while the run goes on\n" + BUILD)
    outcomes = {outcome.case: outcome for outcome in worker.run_unit(unit, folder).outcomes}
    mine = next(outcome for case, outcome in outcomes.items() if case.startswith("mine"))
    assert mine.status == "failed"
    assert "mine.py changed" in str(mine.reason)
    assert [outcome.status for case, outcome in outcomes.items() if case.startswith("dense")] == ["ok"]
    trust.confirm(read(str(folder.path)), trust=True)
    assert all(outcome.status != "failed" for outcome in worker.run_unit(unit, folder).outcomes)


def test_a_report_says_that_two_versions_were_run(here: Path) -> None:
    left(here, planted_suite("draft", metrics=["latency/forward"], train=None))
    run = here / "run"
    file = {"kind": "model", "name": "mine.py:build", "path": str(here / "mine.py"), "size": 1, "sha256": "a" * 64}
    reseal_with(run / "run.json", lambda body: body.update(own_files=[file]))
    for digit, warns in (("a", False), ("b", True)):
        (run / trust.AGREED).write_text(json.dumps({file["path"]: digit * 64}))
        said = [line for line in map(plain, warnings(load(run))) if "mine.py changed" in line]
        assert bool(said) is warns


@pytest.mark.parametrize("content", ["[", "[1]", '{"a": 1}'])
def test_damaged_hashes_are_named(content: str, here: Path) -> None:
    (here / trust.AGREED).write_text(content)
    with pytest.raises(UsageError, match=trust.AGREED):
        trust.expected(here)
    (here / trust.AGREED).unlink()
    assert trust.expected(here) == {}
    (here / trust.AGREED).write_text(json.dumps({"a": "b"}))
    assert trust.expected(here) == {"a": "b"}


@pytest.mark.parametrize(
    ("folder", "named"), [("own", "own/mine.py"), ("../beside", "../beside/mine.py"), ("ABSOLUTE", "mine.py")]
)
def test_a_failure_names_the_line_of_a_users_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, folder: str, named: str
) -> None:
    """The innermost line that is the user's: torch's own lie below it, modbench's above."""
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    file = Path(folder if folder != "ABSOLUTE" else here / "elsewhere") / "mine.py"
    file.parent.mkdir()
    file.write_text(
        "import torch\ndef inner():\n    torch.nn.Linear(2, 2)(torch.ones(3))\ndef build(config):\n    inner()\n"
    )
    gap = attempt(lambda: user_models.load_user_model(f"{file}:build")(None))
    assert isinstance(gap, Missing)
    assert gap.reason is not None
    assert gap.reason.startswith("RuntimeError: ")
    assert gap.reason.endswith(f" ({named}, line 3)")
    gap = attempt(lambda: dict[str, int]()["x"])
    assert isinstance(gap, Missing)
    assert gap.reason == "KeyError: 'x'"


MINE = """
import torch
def build(config):
    import parts  # only now
    from package import inner
    import importlib.util
    spec = importlib.util.spec_from_file_location("loaded", "loaded.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    wide = parts.WIDE + inner.WIDE + loaded.WIDE
    return torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, wide), torch.nn.Linear(wide, config.vocab_size))
"""
IMPORTED = ("parts.py", "package/inner.py", "loaded.py")


@pytest.fixture
def helped(here: Path) -> Path:
    """A model that imports others when it is built: beside it, from a package, and by its path."""
    (here / "package").mkdir()
    for name in ("package/__init__.py", *IMPORTED):
        (here / name).write_text("" if name.endswith("__init__.py") else "WIDE = 4\n")
    (here / "mine.py").write_text(MINE)
    return here


def anew() -> None:
    """As in another process: nothing is imported, nothing ran."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"parts", "package"}]:
        del sys.modules[name]
    user_code._RAN.clear()
    user_code._MODULES.clear()


def run_one(folder: RunFolder, unit: UnitOfWork) -> Record:
    anew()
    return worker.run_unit(unit, folder)


def counting(folder: RunFolder) -> UnitOfWork:
    return next(unit for unit in read(str(folder.path)).planned if unit.made_in == "count")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_record_holds_all_files_of_the_users_that_its_process_ran(helped: Path) -> None:
    folder = planned(helped, "mine.py:build")
    files = ("mine.py", "package/__init__.py", *IMPORTED)
    record = run_one(folder, counting(folder))
    assert record.code == {name: sha256(helped / name) for name in files}
    assert read_record(folder.record(counting(folder)), counting(folder)).code == record.code


@pytest.mark.parametrize("edited", IMPORTED)
def test_a_worker_runs_what_the_first_one_imported(helped: Path, edited: str) -> None:
    folder = planned(helped, "mine.py:build")
    run_one(folder, counting(folder))
    (helped / edited).write_text("WIDE = 8\n")
    folder.record(counting(folder)).unlink()
    record = run_one(folder, counting(folder))
    failed = [outcome for outcome in record.outcomes if outcome.status == "failed"]
    assert {outcome.case.partition(":")[0] for outcome in failed} == {"mine"}
    assert all(f"{edited} changed" in str(outcome.reason) for outcome in failed)
    assert edited not in (record.code or {})


@pytest.mark.parametrize(("edited", "recorded"), [*((name, True) for name in IMPORTED), (IMPORTED[0], False)])
def test_a_run_is_not_resumed_with_another_import(helped: Path, edited: str, recorded: bool) -> None:
    """Whether its unit left a record, or was killed after it had run the file."""
    folder = planned(helped, "mine.py:build")
    run_one(folder, counting(folder))
    if not recorded:
        folder.record(counting(folder)).unlink()
    trust.confirm(read(str(folder.path)), trust=False)
    (helped / edited).write_text("WIDE = 8\n")
    with pytest.raises(UsageError, match=rf"^import '{helped / edited}' .*changed.*--trust\.$"):
        trust.confirm(read(str(folder.path)), trust=False)
    (helped / edited).unlink()
    with pytest.raises(UsageError, match=rf"^import '{helped / edited}' is gone.*--trust\.$"):
        trust.confirm(read(str(folder.path)), trust=False)
    (helped / edited).write_text("WIDE = 8\n")
    trust.confirm(read(str(folder.path)), trust=True)
    trust.confirm(read(str(folder.path)), trust=False)  # this user agreed
    record = run_one(folder, counting(folder))
    assert record.code is not None
    assert record.code[edited] == sha256(helped / edited)
    assert {outcome.status for outcome in record.outcomes} <= {"ok", "skipped"}


def test_an_import_of_somebody_elses_run_is_shown(helped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planned(helped, "mine.py:build")
    run_one(folder, counting(folder))
    monkeypatch.setenv("MODBENCH_STATE", str(helped / "another"))
    shown: set[str] = set()

    def agree(found: Sequence[trust.UntrustedFile]) -> bool:
        shown.update(each.file.name for each in found)
        return True

    trust.confirm(read(str(folder.path)), trust=agree)
    assert {"mine.py:build", *IMPORTED} <= shown


METRIC = """
import importlib.util
from modbench.harness.core.contracts import Metric
spec = importlib.util.spec_from_file_location("beside", {beside!r})
beside = importlib.util.module_from_spec(spec)
spec.loader.exec_module(beside)
METRICS = (Metric("weights/{name}", "B", "lower", "inspect", "Weights.", beside.measure, measured_by="inspect"),)
"""


def test_what_an_included_metric_loads_is_held_too_and_one_that_is_not_used_is_not(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "bench" / "metrics").mkdir(parents=True)
    for name in ("used", "unused"):
        beside = here / "bench" / f"beside_{name}.py"
        beside.write_text("def measure(subject):\n    return 1.0\n")
        (here / "bench" / "metrics" / f"{name}.py").write_text(METRIC.format(beside=str(beside), name=name))
    monkeypatch.setenv(discovery.VARIABLE, str(here / "bench"))
    (here / "tiny.toml").write_text(SUITE.replace("flops/forward", "weights/used"))
    plan = api.make_plan(str(here / "tiny.toml"), Overrides(device="cpu"))
    folder = api.new_folder(plan, str(here / "run"))
    folder.write_run(plan, {}, ["modbench"], now())
    unit = next(unit for unit in plan.units if unit.made_in == "inspect")
    anew()
    for name in [name for name in sys.modules if name.startswith("modbench_include.")]:
        del sys.modules[name]
    for cached in (catalogue._metrics, catalogue._usable, catalogue._passes, catalogue._with_sources):
        cached.cache_clear()
    assert set(worker.run_unit(unit, folder).code or {}) == {"bench/beside_used.py", "bench/metrics/used.py"}


def test_a_package_that_is_installed_in_place_is_the_users_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = here / "elsewhere" / "package"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("")
    (inner / "parts.py").write_text("WIDE = 4\n")
    (inner / "model.py").write_text(f"from package import parts\n{BUILD}")
    monkeypatch.syspath_prepend(here / "elsewhere")
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    user_models.load_user_model("package.model:build")
    assert set(user_code.ran()) == {str(inner / name) for name in ("__init__.py", "model.py", "parts.py")}


def test_files_that_another_process_ran_count_as_if_they_had_run_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A trial of the pass `fit` is a process of its own, and ends before its unit writes the record."""
    monkeypatch.setattr(user_code, "_RAN", {})
    agree = functools.partial(trust.first, tmp_path)
    user_code.expect({}, agree)
    user_code.take({"/parts.py": "a"})
    assert user_code.ran() == user_code.hashes() == {"/parts.py": "a"}
    user_code.take({"/parts.py": "a"})
    with pytest.raises(UsageError, match=r"/parts\.py changed"):
        user_code.take({"/parts.py": "b"})
    user_code.expect({})
