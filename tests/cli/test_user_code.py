"""Records name exactly what ran of a user's files; `resume` names what changed since; nothing that was not named is imported."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import py_compile
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from in_process import succeeded
from own_plugin import write
from present import of_type

from modbench import api
from modbench.harness.core.atomic_files import now
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Missing, Record
from modbench.harness.execution import resuming, worker
from modbench.harness.machine import certificate, environment
from modbench.harness.planning.overrides import Overrides
from modbench.harness.registry import plugin_manifests, user_code, user_models
from modbench.harness.results import user_files
from modbench.harness.results.measured_or_missing import attempt
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder, read
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.machine_check import warnings
from modbench.reports.tables.load import load

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
variants = [{ model = "dense" }]
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
    yield tmp_path
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.split(".")[0] in {"mine", "package"} or "modbench_user" in name]:
        del sys.modules[name]


def planned(here: Path, *models: str, metrics: Sequence[str] = ("flops/forward",)) -> RunFolder:
    (here / "tiny.toml").write_text(SUITE.replace('["flops/forward"]', json.dumps(metrics)))
    plan = api.make_plan(str(here / "tiny.toml"), Overrides(model=models, device="cpu"))
    folder = api.new_folder(plan, str(here / "run"))
    where = environment.collect()
    where |= {"machine": certificate.fingerprint(where, "cpu", 1), "certificate": None}
    folder.write_run(plan, where, ["modbench"], now())
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


@pytest.mark.parametrize("spec", ["mine.py:build", "mine:build", "package.inner:build"])
def test_what_python_compiled_before_an_edit_does_not_run(here: Path, spec: str) -> None:
    """An edit of equal length within a tick of the clock looks to Python like none."""
    for file in (here / "package" / "__init__.py", here / "package" / "inner.py", here / "mine.py"):
        file.parent.mkdir(exist_ok=True)
        for content in (f"{'raise SystemExit':<{len(BUILD)}}", BUILD):
            file.write_text(content)
            os.utime(file, (1e9, 1e9))
            if not Path(importlib.util.cache_from_source(file)).exists():
                py_compile.compile(str(file))
    assert callable(user_models.load_user_model(spec))


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
    gap = of_type(Missing, attempt(lambda: user_models.load_user_model(f"{file}:build")(None)))
    assert gap.reason is not None
    assert gap.reason.startswith("RuntimeError: ")
    assert gap.reason.endswith(f" ({named}, line 3)")
    gap = of_type(Missing, attempt(lambda: dict[str, int]()["x"]))
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
    for known in (user_code._RAN, user_code._SOURCES, user_code._MODULES):
        known.clear()


def run_one(folder: RunFolder, job: Job) -> Record:
    anew()
    return worker.run_job(job, folder)


def counting(folder: RunFolder) -> Job:
    return next(job for job in read(str(folder.path)).planned if job.made_in == "count")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_record_holds_all_files_of_the_users_that_its_process_ran(helped: Path) -> None:
    folder = planned(helped, "mine.py:build")
    files = ("mine.py", "package/__init__.py", *IMPORTED)
    record = run_one(folder, counting(folder))
    assert record.code == {name: sha256(helped / name) for name in files}
    assert read_record(folder.record(counting(folder)), counting(folder)).code == record.code


@pytest.mark.parametrize("edited", ["mine.py", *IMPORTED])
def test_an_edit_reaches_no_process_that_ran_the_file_and_every_later_one(helped: Path, edited: str) -> None:
    folder = planned(helped, "mine.py:build")
    job, before = counting(folder), sha256(helped / edited)
    anew()
    worker.run_job(job, folder)
    (helped / edited).write_text(f"{(helped / edited).read_text()}# edited while the run goes on\n")
    for name in [name for name in sys.modules if name.partition(".")[0] in {"parts", "package"}]:
        del sys.modules[name]
    assert (worker.run_job(job, folder).code or {})[edited] == before
    record = run_one(folder, job)
    assert (record.code or {})[edited] == sha256(helped / edited) != before
    assert {outcome.status for outcome in record.outcomes} <= {"ok", "skipped"}


def resumed(folder: RunFolder, *, again: bool = False, allowed: bool = False) -> None:
    """Ask whether the run may be resumed; `again`: every job is measured anew."""
    stored = read(str(folder.path))
    resuming.check_unchanged(stored, {job.name for job in stored.planned} if again else (), allowed=allowed)


@pytest.mark.parametrize("edited", ["mine.py", *IMPORTED])
def test_resume_names_what_changed_since_a_process_loaded_it(helped: Path, edited: str) -> None:
    folder = planned(helped, "mine.py:build")
    run_one(folder, counting(folder))
    resumed(folder)
    content = (helped / edited).read_text()
    (helped / edited).write_text(f"{content}# better\n")
    with pytest.raises(UsageError, match=rf": '{edited}' changed since results were made\. .*--allow-changed\.$"):
        resumed(folder)
    resumed(folder, again=True)  # nothing is left to be mixed with
    resumed(folder, allowed=True)
    (helped / edited).unlink()
    with pytest.raises(UsageError, match=rf"'{edited}' \(gone\) changed"):
        resumed(folder)
    (helped / edited).write_text(content)
    resumed(folder)


def test_a_run_that_changed_on_purpose_goes_on_with_both_versions_on_show(helped: Path, modbench: Any) -> None:
    """It was cut after it had counted; then `parts.py` beside its model was edited."""
    folder = planned(helped, "mine.py:build", metrics=("flops/forward", "latency/forward"))
    done = counting(folder)
    run_one(folder, done)
    (helped / "parts.py").write_text("WIDE = 8\n")
    anew()
    stopped = modbench("resume", "run", cwd=helped)
    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert "'parts.py'" in stopped.stderr
    assert len(stopped.stderr.splitlines()) == 1
    assert folder.record(done).exists()
    anew()
    succeeded(modbench("resume", "run", "--allow-changed", cwd=helped))
    loaded = load(folder.path)
    worn = loaded.cases[loaded.cases.labels.fillna("").str.contains(Label.CODE_CHANGED)]
    assert {*worn.metric} == {"flops/forward", "latency/forward"}
    assert {*worn.model} == {"mine.py:build"}
    assert any("parts.py changed after this run began" in line for line in map(plain, warnings(loaded)))


METRIC = """
import importlib.util
from modbench.harness.core.contracts import Metric
spec = importlib.util.spec_from_file_location("beside", {beside!r})
beside = importlib.util.module_from_spec(spec)
spec.loader.exec_module(beside)
METRICS = (Metric("weights/{name}", "B", "lower", "inspect", "Weights.", beside.measure, measured_by="inspect"),)
"""


def test_a_record_holds_what_an_included_metric_loads(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And `resume` names it."""
    (here / "bench").mkdir()
    beside = here / "bench" / "beside.py"
    beside.write_text("def measure(subject):\n    return 1.0\n")
    write(here / "bench", {"metrics/used.py": METRIC.format(beside=str(beside), name="used")})
    monkeypatch.setenv(plugin_manifests.VARIABLE, str(here / "bench"))
    folder = planned(here, metrics=("weights/used",))
    job = next(job for job in read(str(folder.path)).planned if job.made_in == "inspect")
    files = {"bench/beside.py", "bench/metrics/used.py"}
    assert read(str(folder.path)).code.keys() == files, "the command planned with them"
    assert (worker.run_job(job, folder).code or {}).keys() == files
    beside.write_text("def measure(subject):\n    return 2.0\n")
    with pytest.raises(UsageError, match=r"'bench/beside\.py'"):
        resumed(folder)


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


def test_files_that_another_process_ran_count_as_if_they_had_run_here() -> None:
    """A trial of the pass `fit` is a process of its own, and ends before its unit writes the record."""
    for _ in range(2):
        user_code.take({"/parts.py": "a"})
        assert user_code.ran() == {"/parts.py": "a"}
    with pytest.raises(UsageError, match=r"/parts\.py changed"):
        user_code.take({"/parts.py": "b"})


def test_resume_names_a_text_that_changed(here: Path) -> None:
    (here / "corpus.txt").write_text("the quick brown fox counts lazy dogs\n" * 40)
    train = "train = { seq_len = 16, batch_size = 1, steps = 2, val_tokens = 32 }"
    (here / "tiny.toml").write_text(f'{SUITE.replace("flops/forward", "loss/val")}corpus = "corpus.txt"\n{train}\n')
    plan = api.make_plan("tiny.toml", Overrides(device="cpu"))
    folder = api.new_folder(plan, "run")
    folder.write_run(plan, {}, ["modbench"], now())
    resumed(folder)
    (here / "corpus.txt").write_text("another\n" * 200)
    with pytest.raises(UsageError, match=r"'corpus\.txt'"):
        resumed(folder)


def test_a_run_with_a_package_is_resumed_with_that_version(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = user_files.Origin(kind="package", name="mine 1.0")
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "sources", lambda: (package,))
        folder = planned(here)
        resumed(folder)
    with pytest.raises(UsageError, match=r"'mine 1\.0'"):
        resumed(folder)
