"""`--plugin`, a suite's `plugins` and `--router` as a user types them; what a report says of a broken section."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fresh_catalogue import forget
from in_process import succeeded

from modbench.cli import app
from modbench.harness.registry import plugin_manifests

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
pytestmark = [pytest.mark.plugin("example"), pytest.mark.plugin("tasks")]

RAISES = """
from modbench.extend import Section
def render(loaded):
    return loaded.no_such_table
SECTION = Section(title="Mine", order=5, span=12, render=render)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a plug-in of one's own, a suite that names it, and a state folder that knows nothing."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv(plugin_manifests.VARIABLE, "")
    shutil.copytree(ROOT / "plugins" / "example", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    suite = (tmp_path / "bench" / "suite.toml").read_text()
    (tmp_path / "mine.toml").write_text(f'plugins = ["bench"]\n{suite}')
    yield tmp_path
    forget()


@pytest.mark.plugin("tasks")
def test_a_suite_names_its_plugins_from_its_own_folder(here: Path, modbench: Any) -> None:
    (here / "sub").mkdir()
    planned = succeeded(modbench("plan", "../mine.toml", "--device", "cpu", "--json", cwd=here / "sub"))
    assert any("entropy" in case["case"] for case in json.loads(planned.stdout)["cases"])


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "jobs_here")
def test_resume_uses_the_plugins_of_a_run_and_report_does_not(
    here: Path, modbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then with broken sections, and with a file gone."""

    def anew() -> None:  # as another process
        forget()
        monkeypatch.setenv(plugin_manifests.VARIABLE, "")

    succeeded(modbench("run", "mine.toml", "--device", "cpu", "-o", "run", "-q", cwd=here))
    cases = pd.read_csv(here / "run" / "cases.csv")
    assert (cases.status == "ok").all(), cases[cases.status != "ok"].reason.tolist()
    assert {"weights/routers", "task/sums", "loss/val", "flops/forward"} == set(cases.metric)
    assert json.loads((here / "run" / "run.json").read_text())["included"] == [
        {"kind": "folder", "name": str(here / "bench")}
    ]
    anew()
    unnamed = succeeded(modbench("report", "run", cwd=here))
    assert f"add --plugin {here / 'bench'}" in unnamed.stderr
    assert "not shown: task/sums, weights/routers (plug-in absent)" in " ".join(unnamed.stdout.split())
    (here / "bench" / "raises.py").write_text(RAISES)
    (here / "bench" / "syntax.py").write_text("SECTION = (")
    (here / "bench" / "bad.py").write_text("1 / 0\nWARNING = 1")
    text = (here / "bench" / plugin_manifests.MANIFEST).read_text()
    text = text.replace("[sections]\n", '[sections]\nraises = "raises.py"\nsyntax = "syntax.py"\n')
    (here / "bench" / plugin_manifests.MANIFEST).write_text(
        text.replace("[warnings]\n", '[warnings]\nbad = "bad.py"\n')
    )
    anew()
    report = modbench("report", "run", "--plugin", "bench", cwd=here)
    assert (report.returncode, report.stderr) == (0, "")
    page = (here / "run" / "report.html").read_text()
    assert "raises.py cannot be shown" in page
    assert re.search(r"syntax\.py cannot [\w ]+: line 1: ", page)
    assert re.search(r"bad\.py [\w ]+: line 1: ZeroDivisionError", page)
    assert "How many weights" in page
    next((here / "run" / "jobs").glob("train-*entropy*")).unlink()
    (here / "bench" / "router.py").rename(here / "router.py")
    anew()
    resumed = modbench("resume", "run", cwd=here)
    assert resumed.returncode == 2
    (here / "router.py").rename(here / "bench" / "router.py")
    anew()
    succeeded(modbench("resume", "run", cwd=here))


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
    (here / "sub").mkdir()
    beside = succeeded(modbench("plan", here / "mine.toml", "--device", "cpu", cwd=here / "sub"))
    assert "mod[c0.125-mine-" in beside.stdout
    assert f"router {here / 'mine.py'}:ROUTER " in " ".join(beside.stdout.split())


def test_every_command_takes_folders() -> None:
    takes = {
        each.callback.__name__: "plugin" in inspect.signature(each.callback).parameters
        for each in app.registered_commands
        if each.callback is not None
    }
    assert {name for name, included in takes.items() if not included} == set()
    assert len(takes) > 10


def test_relative_folders_stay_where_they_were(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may run elsewhere: the variable that they inherit holds absolute folders."""
    monkeypatch.chdir(here)
    plugin_manifests.include(["bench"])
    assert os.environ[plugin_manifests.VARIABLE] == str(here / "bench")
