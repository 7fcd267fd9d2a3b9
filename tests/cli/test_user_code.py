"""A user's files: found beside the model in every job, run once, named by records exactly, and by `resume` once they changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import operator
import os
import py_compile
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from in_process import succeeded
from own_plugin import write
from resealed import reseal_with

from modbench import api
from modbench.harness.call.subject.build import build_module
from modbench.harness.core.atomic_files import now
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Record
from modbench.harness.execution import resuming, worker
from modbench.harness.machine import certificate, environment
from modbench.harness.planning.overrides import Overrides
from modbench.harness.registry import plugin_manifests, user_code
from modbench.harness.registry.user_models import load_user_model
from modbench.harness.results import user_files
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder, read
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.machine_check import warnings
from modbench.reports.tables.load import load

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
    """The current folder, of which no module outlives the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    for kept in ("_FOLDERS", "_USED", "_ASIDE"):
        monkeypatch.setattr(user_code, kept, type(getattr(user_code, kept))())
    monkeypatch.delitem(sys.modules, "parts", raising=False)  # so is a file of the audit's tests called
    (tmp_path / "tiny.toml").write_text(SUITE)
    yield tmp_path
    sys.path_importer_cache.clear()
    anew(tmp_path)


def anew(folder: Path) -> None:
    """As in another process: nothing of a folder is imported, and nothing ran."""
    unload(folder)
    for known in (user_code._RAN, user_code._SOURCES, user_code._MODULES):
        known.clear()


def unload(folder: Path) -> None:
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(str(folder)) or "modbench_user" in name:
            del sys.modules[name]


def planned(*models: str, metrics: Sequence[str] = ("flops/forward",)) -> RunFolder:
    """The folder of a run of the suite in the current folder: planned, nothing measured."""
    suite = Path("tiny.toml")
    suite.write_text(suite.read_text().replace('["flops/forward"]', json.dumps(metrics)))
    plan = api.make_plan("tiny.toml", Overrides(model=models, device="cpu"))
    folder = api.new_folder(plan, "run")
    where = environment.collect()
    where |= {"machine": certificate.fingerprint(where, "cpu", 1), "certificate": None}
    folder.write_run(plan, where, ["modbench"], now())
    return folder


# --- neighbours of a model

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
MODELS = {"sub/mine.py:build": "current", "other/mine.py:build": "other", "flat:build": "current"}


@pytest.fixture
def project(here: Path) -> Path:
    """`sub/mine.py` uses a neighbour in the current folder, `other/mine.py` has one of that name of its own."""
    variants = ", ".join(f'{{ model = "{model}" }}' for model in MODELS)
    (here / "tiny.toml").write_text(SUITE.replace('{ model = "dense" }', variants))
    (here / "helper.py").write_text("SAYS, WIDTH = 'current', 8\n")
    (here / "flat.py").write_text(BUILD)
    for folder in ("sub", "other"):
        (here / folder).mkdir()
        (here / folder / "mine.py").write_text(BUILD)
    (here / "other" / "helper.py").write_text("SAYS, WIDTH = 'other', 16\n")
    return here


def ran(file: Path) -> int:
    """How often a file ran."""
    return len(Path(f"{file}.ran").read_text().splitlines())


def says(spec: str) -> str:
    return str(load_user_model(spec)(ModelConfig.model_validate({"d_model": 16})).says)


def test_each_model_finds_its_own_neighbour_whatever_was_built_before(project: Path) -> None:
    """It is imported once, and one that gave way comes back as it was."""
    for spec in [*MODELS, *reversed(MODELS), *MODELS]:
        assert says(spec) == MODELS[spec], spec
    assert [Path(entry) for entry in sys.path[:1]] == [project]
    mine = sys.modules["helper"]
    says("other/mine.py:build")
    assert str(sys.modules["helper"].__file__).startswith(str(project / "other"))
    says("flat:build")
    assert sys.modules["helper"] is mine


@pytest.mark.parametrize("first", ["other/mine.py:build", "other.mine:build", "imports_it.py:build"])
def test_a_process_runs_a_file_once_under_whatever_names_it_is_loaded(project: Path, first: str) -> None:
    (project / "imports_it.py").write_text("from other.mine import build\n")
    file = project / "other" / "mine.py"
    file.write_text(BUILD.replace("from helper import", "from other.helper import"))
    for spec in (first, "other/mine.py:build", "other.mine:build", "imports_it.py:build", str(file) + ":build"):
        assert says(spec) == "other"
    assert ran(file) == 1
    file.write_text(file.read_text().replace("DEF", "FRAGMENT"))
    assert says("other/mine.py:build") == "other"
    assert ran(file) == 2, "an edited file is another one"


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


def test_what_a_model_imports_when_it_is_called_is_found_too(project: Path) -> None:
    (project / "sub" / "late.py").write_text("VALUE = 7\n")
    (project / "sub" / "mine.py").write_text(
        "def build(config):\n    def call():\n        import late\n        return late.VALUE\n    return call\n"
    )
    call = load_user_model("sub/mine.py:build")(None)
    load_user_model("other/mine.py:build")
    user_code.search_all()
    assert call() == 7


@pytest.mark.slow
def test_every_job_of_a_run_finds_them_in_forked_processes(project: Path, modbench: Any) -> None:
    metrics = 'metrics=["flops/forward","latency/forward"]'
    succeeded(modbench("run", "tiny.toml", "--set", metrics, "-o", "run", "-q", "--device", "cpu", cwd=project))
    outcomes = [outcome for record in read("run").records for outcome in record.outcomes]
    timed = {outcome.case.partition("[")[0] for outcome in outcomes if outcome.metric == "latency/forward"}
    assert timed == {"mine:build", "flat:build"}
    assert [outcome for outcome in outcomes if outcome.status == "failed"] == []
    processes = (project / "sub" / "mine.py.ran").read_text().splitlines()
    assert len(processes) == len({*processes}) >= 2, "one counts, one times"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="looks for the command beside Python")
def test_nothing_in_the_current_folder_is_imported(here: Path) -> None:
    """Python puts it first on the path of processes that it starts with -c and -m."""
    for name in ("selectors", "multiprocessing", "signal", "torch", "numpy", "scipy"):
        (here / f"{name}.py").write_text(f"open({str(here / 'mark')!r}, 'a').write('{name} ')\n")
    command = [str(Path(sys.executable).with_name("modbench")), "run", "tiny.toml", "-o", "run"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (here / "mark").exists(), (here / "mark").read_text()


@pytest.mark.parametrize("spec", ["mine.py:build", "mine:build", "package.inner:build"])
def test_what_python_compiled_before_an_edit_does_not_run(here: Path, spec: str) -> None:
    """An edit of equal length within a tick of the clock looks to Python like none."""
    good = "def build(config): ...\n"
    for file in (here / "package" / "__init__.py", here / "package" / "inner.py", here / "mine.py"):
        file.parent.mkdir(exist_ok=True)
        for content in (f"{'raise SystemExit':<{len(good)}}", good):
            file.write_text(content)
            os.utime(file, (1e9, 1e9))
            if not Path(importlib.util.cache_from_source(file)).exists():
                py_compile.compile(str(file))
    assert callable(load_user_model(spec))


# --- what ran, and what changed since

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


def run_one(folder: RunFolder, job: Job) -> Record:
    anew(Path.cwd())
    return worker.run_job(job, folder)


def counting(folder: RunFolder, made_in: str = "count") -> Job:
    return next(job for job in read(str(folder.path)).planned if job.made_in == made_in)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("edited", ["mine.py", *IMPORTED])
def test_a_record_holds_what_its_process_ran_and_an_edit_reaches_every_later_one(helped: Path, edited: str) -> None:
    folder = planned("mine.py:build")
    job, before = counting(folder), sha256(helped / edited)
    record = run_one(folder, job)
    files = ("mine.py", "package/__init__.py", *IMPORTED)
    assert record.code == {name: sha256(helped / name) for name in files}
    assert read_record(folder.record(job), job).code == record.code
    (helped / edited).write_text(f"{(helped / edited).read_text()}# edited while the run goes on\n")
    unload(helped)
    assert (worker.run_job(job, folder).code or {})[edited] == before
    record = run_one(folder, job)
    assert (record.code or {})[edited] == sha256(helped / edited) != before
    assert {outcome.status for outcome in record.outcomes} <= {"ok", "skipped"}


def resumed(folder: RunFolder, *, again: bool = False, allowed: bool = False) -> None:
    """Ask whether the run may be resumed; `again`: every job is measured anew."""
    stored = read(str(folder.path))
    resuming.check_unchanged(stored, {job.name for job in stored.planned} if again else (), allowed=allowed)


@pytest.mark.slow
@pytest.mark.parametrize("edited", ["mine.py", *IMPORTED])
def test_resume_names_what_changed_since_a_process_loaded_it(helped: Path, edited: str) -> None:
    folder = planned("mine.py:build")
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


@pytest.mark.slow
def test_a_run_that_changed_on_purpose_goes_on_with_both_versions_on_show(helped: Path, modbench: Any) -> None:
    """It was cut after it had counted; then `parts.py` beside its model was edited."""
    folder = planned("mine.py:build", metrics=("flops/forward", "latency/forward"))
    done = counting(folder)
    run_one(folder, done)
    (helped / "parts.py").write_text("WIDE = 8\n")
    anew(helped)
    stopped = modbench("resume", "run", cwd=helped)
    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert "'parts.py'" in stopped.stderr
    assert folder.record(done).exists()
    anew(helped)
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
METRICS = (Metric("weights/used", "B", "lower", "inspect", "Weights.", beside.measure, measured_by="inspect"),)
"""


@pytest.mark.slow
def test_resume_names_what_an_included_metric_loads(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = here / "bench" / "beside.py"
    write(here / "bench", {"beside.py": "def measure(subject):\n    return 1.0\n"})
    write(here / "bench", {"metrics/used.py": METRIC.format(beside=str(beside))})
    monkeypatch.setenv(plugin_manifests.VARIABLE, str(here / "bench"))
    folder = planned(metrics=("weights/used",))
    files = {"bench/beside.py", "bench/metrics/used.py"}
    assert read(str(folder.path)).code.keys() == files, "the command planned with them"
    assert (worker.run_job(counting(folder, "inspect"), folder).code or {}).keys() == files
    beside.write_text("def measure(subject):\n    return 2.0\n")
    with pytest.raises(UsageError, match=r"'bench/beside\.py'"):
        resumed(folder)


@pytest.mark.slow
def test_resume_names_a_text_that_changed(here: Path) -> None:
    (here / "corpus.txt").write_text("the quick brown fox counts lazy dogs\n" * 40)
    train = "train = { seq_len = 16, batch_size = 1, steps = 2, val_tokens = 32 }"
    (here / "tiny.toml").write_text(f'{SUITE}corpus = "corpus.txt"\n{train}\n')
    folder = planned(metrics=["loss/val"])
    resumed(folder)
    (here / "corpus.txt").write_text("another\n" * 200)
    with pytest.raises(UsageError, match=r"'corpus\.txt'"):
        resumed(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_run_with_a_package_is_resumed_with_that_version(monkeypatch: pytest.MonkeyPatch) -> None:
    package = user_files.Origin(kind="package", name="mine 1.0")
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "sources", lambda: (package,))
        folder = planned()
        resumed(folder)
    with pytest.raises(UsageError, match=r"'mine 1\.0'"):
        resumed(folder)


@pytest.mark.slow
def test_a_run_is_resumed_from_the_folder_in_which_it_was_started(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(project / "run")
    planned(f"{project}/sub/mine.py:build")
    resumed(folder)
    monkeypatch.chdir(project / "other")
    with pytest.raises(UsageError, match=f"was started in {project}, .* cd {project} && modbench resume {folder.path}"):
        resumed(folder, allowed=True)
    for elsewhere in (None, str(project / "gone")):  # of a run that was packed, or the project was moved
        reseal_with(folder.path / "run.json", operator.methodcaller("update", started_in=elsewhere))
        resumed(folder, allowed=True)
