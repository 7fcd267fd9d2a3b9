"""`--plugin`, `modbench.toml` and `--router` as a user types them; the example folder; what a report says of a broken panel."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import succeeded

from modbench.cli import app
from modbench.harness.core.errors import UsageError
from modbench.harness.registry import catalogue, discovery, project

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RAISES = """
from modbench.reports.panel import Panel
def render(loaded):
    return loaded.no_such_table
PANEL = Panel(title="Mine", order=5, span=12, render=render)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a folder of one's own, a modbench.toml, and a state folder that knows nothing."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv(discovery.VARIABLE, "")
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    (root / "sub").mkdir()
    shutil.copytree(EXAMPLES / "bench", root / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    mark = f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n"
    metric = root / "bench" / "metrics" / "weights.py"
    metric.write_text(f'"""Weights."""\n{mark}{metric.read_text()}')
    (root / "modbench.toml").write_text('plugins = ["bench"]\n')
    return root


def listed(done: Any) -> set[str]:
    return set(json.loads(done.stdout)["metrics"])


def test_a_projects_file_counts_in_its_folder_and_below(here: Path, modbench: Any) -> None:
    for folder in (here, here / "sub"):
        catalogue.forget()
        done = modbench("list", "metrics", "--json", cwd=folder)
        assert (done.stderr, "weights/routers" in listed(done)) == ("", True)


def test_a_file_above_the_repository_does_not_count(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one above the current folder where there is no repository: it may be anybody's."""
    (here.parent / "modbench.toml").write_text('plugins = ["project/bench"]\n')
    (here / "modbench.toml").unlink()
    for folder, found in ((here / "sub", None), (here, None), (here.parent, here.parent / "modbench.toml")):
        monkeypatch.chdir(folder)
        assert project.search() == found
        if folder == here / "sub":
            (here / ".git").rmdir()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('plugin = ["bench"]', "'plugin'. Did you mean"),
        ('plugins = "bench"', "list of folders"),
        ("plugins = [", "not TOML"),
        ('plugins = ["none"]', "plugins '"),
    ],
)
def test_a_wrong_file_is_refused(here: Path, modbench: Any, text: str, said: str) -> None:
    (here / "modbench.toml").write_text(text)
    done = modbench("list", "routers", cwd=here)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
    assert str(here / "modbench.toml") in done.stderr


def test_flags_come_before_the_environment_and_that_before_the_project(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flag", "environment"):
        (here / name / "routers").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv(discovery.VARIABLE, str(here / "environment"))
    project.include(["flag"])
    assert [folder.name for folder in discovery.included_folders()] == ["flag", "environment", "bench"]
    monkeypatch.setenv(discovery.VARIABLE, str(here / "gone"))
    with pytest.raises(UsageError, match=r"MODBENCH_PLUGINS .*gone.*no such folder"):
        project.include([])


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "jobs_here")
def test_the_example_folder_runs_and_its_run_finds_it_again(
    here: Path, modbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router, a metric, a task, a suite, a panel and a corpus; then broken panels, and the folder gone."""
    succeeded(modbench("run", "tiny", "--plugin", "bench", "--device", "cpu", "-o", "run", "-q", cwd=here))
    cases = pd.read_csv(here / "run" / "cases.csv")
    assert (cases.status == "ok").all(), cases[cases.status != "ok"].reason.tolist()
    assert {"weights/routers", "task/sums", "loss/val", "flops/forward"} == set(cases.metric)
    assert "mod[c0.125-entropy-T32-B1-fp32-cpu1]" in set(cases.case_id)
    assert "How many weights" in (here / "run" / "report.html").read_text()
    assert {path.stem for path in (here / "bench").glob("*/*.*")} == {
        *("entropy", "weights", "sums", "tiny", "router_weights", "counting")
    }
    assert json.loads((here / "run" / "run.json").read_text())["included"] == [
        {"kind": "folder", "name": str(here / "bench")}
    ]
    (here / "run" / "report.html").unlink()
    again = modbench("report", "run", cwd=here)
    assert (again.returncode, again.stderr) == (0, "")
    assert "How many weights" in (here / "run" / "report.html").read_text()
    (here / "bench" / "panels" / "raises.py").write_text(RAISES)
    (here / "bench" / "panels" / "syntax.py").write_text("PANEL = (")
    (here / "bench" / "doubts").mkdir()
    (here / "bench" / "doubts" / "bad.py").write_text("1 / 0\nDOUBT = 1")
    catalogue.forget()  # another process would read the folder anew
    (here / "modbench.toml").unlink()
    monkeypatch.setenv(discovery.VARIABLE, "")
    unnamed = modbench("report", "run", cwd=here)
    assert unnamed.returncode == 2
    assert f"add --plugin {here / 'bench'}" in unnamed.stderr
    report = modbench("report", "run", "--plugin", "bench", cwd=here)
    assert (report.returncode, report.stderr) == (0, "")
    page = (here / "run" / "report.html").read_text()
    assert "raises.py cannot be shown" in page
    assert re.search(r"syntax\.py cannot [\w ]+: line 1: ", page)
    assert re.search(r"bad\.py [\w ]+: line 1: ZeroDivisionError", page)
    assert "How many weights" in page
    # What the run needs is not there: named, not run without it.
    record = next((here / "run" / "jobs").glob("train-*entropy*"))
    record.unlink()
    (here / "bench" / "routers" / "entropy.py").rename(here / "entropy.py")
    catalogue.forget()
    resumed = modbench("resume", "run", "--plugin", "bench", cwd=here)
    assert resumed.returncode == 2
    assert "'bench/routers/entropy.py' (gone)" in resumed.stderr
    # `resume` includes the folder by itself.
    (here / "entropy.py").rename(here / "bench" / "routers" / "entropy.py")
    catalogue.forget()
    monkeypatch.setenv(discovery.VARIABLE, "")
    resumed = succeeded(modbench("resume", "run", cwd=here))


@pytest.mark.slow
def test_a_router_is_named_on_the_command_line_and_in_the_id(here: Path, modbench: Any) -> None:
    """A sweep, as of capacities; beside a shipped one, alone, and in a suite's file."""
    spec = f"{EXAMPLES / 'routers' / 'scaled_norm.py'}:ROUTER"
    flags = (
        *("--device", "cpu", "--json", "--model", "mod"),
        *("--set", "d_model=32", "--set", "n_layers=2", "--seq-len", "32"),
    )

    def variants(*more: str) -> list[str]:
        done = succeeded(modbench("plan", "quick", *flags, *more, cwd=here))
        found = (case["case"].partition("[")[2].partition("-T")[0] for case in json.loads(done.stdout)["cases"])
        return list(dict.fromkeys(variant for variant in found if variant.startswith("c")))

    assert variants("--capacity", "0.25", "--router", f"learned,norm,{spec}") == [
        *("c0.25-learned", "c0.25-norm", "c0.25-scaled_norm")
    ]
    assert variants("--capacity", "0.25,0.5", "--router", spec) == ["c0.25-scaled_norm", "c0.5-scaled_norm"]
    assert variants("--capacity", "0.25", "--set", f"router={spec}") == ["c0.25-scaled_norm"]
    shutil.copy(EXAMPLES / "routers" / "scaled_norm.py", here / "mine.py")
    suite = (
        'metrics = ["flops/forward"]\n[[variants]]\nmodel = "mod"\nrouter = ["norm", "mine.py:ROUTER"]\n'
        "[shape]\nd_model = 32\n"
    )
    (here / "mine.toml").write_text(suite)
    beside = succeeded(modbench("plan", here / "mine.toml", "--device", "cpu", cwd=here / "sub"))
    assert "mod[c0.125-mine-" in beside.stdout
    assert f"router {here / 'mine.py'}:ROUTER " in " ".join(beside.stdout.split())
    cost = modbench("cost", "mod", "--set", "router=mine.py:ROUTER", cwd=here)
    assert cost.returncode == 2
    assert "router 'mine.py:ROUTER'" in cost.stderr
    for router, said in (("nrom", "Did you mean 'norm'"), ("gone.py:ROUTER", "no file 'gone.py'")):
        refused = modbench("plan", "quick", "--router", router, "--device", "cpu", cwd=here)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_every_command_takes_folders_but_those_that_read_no_suite_and_no_run() -> None:
    takes = {
        each.callback.__name__: "plugin" in inspect.signature(each.callback).parameters
        for each in app.registered_commands
        if each.callback is not None
    }
    assert {name for name, included in takes.items() if not included} == {"doctor"}
    assert len(takes) > 15


def test_relative_folders_stay_where_they_were(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may run elsewhere: the variable that they inherit holds absolute folders."""
    monkeypatch.chdir(here)
    project.include(["bench"])
    assert os.environ[discovery.VARIABLE] == str(here / "bench")
