"""A run folder is data: every command but `resume` runs nothing of it, and no name in it leads out of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fresh_catalogue import forget
from own_plugin import write
from resealed import reseal_with

from modbench import planted_runs
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.registry import plugin_manifests
from modbench.harness.results.run_folder import RunFolder, planned_job
from modbench.harness.training import checkpoint
from modbench.planted_runs import planted_plan, planted_run

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """See that a command refused the folder in one line."""
    assert (done.returncode, done.stdout) == (2, ""), (done.returncode, done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 600
    for word in words:
        assert word in done.stderr


MARKS = """
import pathlib
with pathlib.Path("MARK").open("a") as mark:
    print("imported", file=mark)
def build(config):
    raise SystemExit("run")
METRICS = ()
"""
COMMANDS = (
    ("report", "run", "--format", "html,csv,md,json,pytest-benchmark"),
    ("compare", "run", "other"),
    ("compare", "run", "--by", "seq_len"),
    ("gate", "run", "other"),
    ("figure", "run"),
    ("watch", "run", "--once"),
    ("recommend", "run", "--workload", "forward"),
)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.plugin("recommend")
def test_every_command_but_resume_imports_nothing_that_a_folder_names(
    tmp_path: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model and a router by file and by module, and a plug-in; `resume` runs them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugin_manifests.VARIABLE, "")
    mark, evil = tmp_path / "mark", tmp_path / "evil"
    marks = MARKS.replace("MARK", str(mark))
    write(evil, {"metrics/mine.py": marks})
    for file in (tmp_path / "mine.py", tmp_path / "package" / "inner.py"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(marks)
    files = ("mine.py:build", "package.inner:build")
    variants = [
        {"model": "dense"},
        *({"model": each} for each in files),
        *({"model": "mod", "router": each} for each in files),
    ]
    metrics = ["flops/forward", "latency/forward"]
    made = planted_plan("draft", processes=3, variants=variants, metrics=metrics, train=None)
    for case in made.cases:
        monkeypatch.setitem(planted_runs.PLANTED, case.variant, 0.5)
    monkeypatch.setattr(planted_runs, "case_cost", lambda _: case_cost(made.cases[0]))
    run = planted_run(tmp_path, made)
    named = {"included": [{"kind": "folder", "name": str(evil)}], "code": {"mine.py": "a" * 64}}
    reseal_with(run / "run.json", lambda body: body.update(named))
    shutil.copytree(run, tmp_path / "other")
    for words in COMMANDS:
        done = modbench(*words)
        assert "Traceback" not in done.stderr
        assert done.stdout, (words, done.stderr)
        assert not mark.exists(), words
    next((run / "jobs").glob("count*")).unlink()
    forget()
    modbench("resume", "run", "--allow-changed")
    assert mark.exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/../../victim/notes", "esc\x1b[2J\nline", "n" * 231])
def test_a_job_is_named_as_a_plain_file(name: str, tmp_path: Path, modbench: Modbench) -> None:
    run = planted_run(tmp_path, planted_plan("smoke"))
    reseal_with(run / "run.json", lambda body: body["plan"]["jobs"][0].update(name=name))
    for command in ("resume", "report"):
        refused(modbench(command, run), "run.json", "the name")
    with pytest.raises(UsageError, match="the name"):
        RunFolder(run).log(planned_job(run, name))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body["plan"]["suite"]["metrics"].append("no/such"), "no/such"),  # `report` shows the rest
        (lambda body: body.update(launcher_options=["--export=HF_TOKEN=***"]), "was masked"),
    ],
    ids=["a metric that nobody has", "an option that was masked"],
)
def test_what_resume_cannot_do_as_it_was_asked(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path, modbench: Modbench
) -> None:
    plan = planted_plan("smoke")
    run = planted_run(tmp_path, plan, leave_out=plan.jobs[0].name)
    reseal_with(run / "run.json", change)
    refused(modbench("resume", run), said)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "mark",))

    body = {"format": checkpoint.FORMAT, "fingerprint": "f", "model": Bomb()}
    checkpoint.save(tmp_path / "bomb.pt", body, sealed=True)
    assert checkpoint.load(tmp_path / "bomb.pt", "f") is None
    assert not (tmp_path / "mark").exists()
