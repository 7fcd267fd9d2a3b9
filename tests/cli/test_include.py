"""A user's plug-in and router as they are named: in a run, resumed, reported, broken; and what a plug-in may not do."""

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
from own_plugin import write

from modbench.cli import app
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.records import Outcome
from modbench.harness.execution import worker
from modbench.harness.registry import catalogue, plugin_manifests

ROOT = Path(__file__).parents[2]

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


@pytest.mark.plugin("example")
@pytest.mark.plugin("tasks")
def test_a_suite_names_its_plugins_from_its_own_folder(here: Path, modbench: Any) -> None:
    (here / "sub").mkdir()
    planned = succeeded(modbench("plan", "../mine.toml", "--device", "cpu", "--json", cwd=here / "sub"))
    assert any("entropy" in case["case"] for case in json.loads(planned.stdout)["cases"])


@pytest.mark.slow
@pytest.mark.plugin("example")
@pytest.mark.plugin("tasks")
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


SCALED = f"{ROOT / 'examples' / 'routers' / 'scaled_norm.py'}:ROUTER"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "variants"),
    [
        (("--capacity", "0.25", "--router", f"norm,{SCALED}"), ["c0.25-norm", "c0.25-scaled_norm"]),
        (("--capacity", "0.25", "--set", f"router={SCALED}"), ["c0.25-scaled_norm"]),
    ],
    ids=["beside a shipped one", "as a setting"],
)
def test_a_router_is_named_on_the_command_line_and_in_the_id(
    words: tuple[str, ...], variants: list[str], modbench: Any
) -> None:
    small = ("--seq-len", "32", "--set", "d_model=32", "--set", "n_layers=2", "--device", "cpu")
    done = succeeded(modbench("plan", "quick", "--model", "mod", *small, *words, "--json"))
    found = [case["case"].partition("[")[2].partition("-T")[0] for case in json.loads(done.stdout)["cases"]]
    assert [*dict.fromkeys(each for each in found if each.startswith("c"))] == variants


def test_a_suite_names_a_router_from_its_own_folder(tmp_path: Path, modbench: Any) -> None:
    shutil.copy(SCALED.removesuffix(":ROUTER"), tmp_path / "mine.py")
    variant = '[[variants]]\nmodel = "mod"\nrouter = "mine.py:ROUTER"\n[shape]\nd_model = 32\n'
    (tmp_path / "mine.toml").write_text(f'metrics = ["flops/forward"]\n{variant}')
    (tmp_path / "sub").mkdir()
    done = succeeded(modbench("plan", tmp_path / "mine.toml", "--device", "cpu", cwd=tmp_path / "sub"))
    assert "mod[c0.125-mine-" in done.stdout
    assert f"router {tmp_path / 'mine.py'}:ROUTER " in " ".join(done.stdout.split())


def test_every_command_takes_folders() -> None:
    commands = [each.callback for each in app.registered_commands if each.callback is not None]
    assert [each.__name__ for each in commands if "plugin" not in inspect.signature(each).parameters] == []
    assert len(commands) > 10


@pytest.mark.plugin("example")
def test_relative_folders_stay_where_they_were(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may run elsewhere: the variable that they inherit holds absolute folders."""
    monkeypatch.chdir(here)
    plugin_manifests.include(["bench"])
    assert os.environ[plugin_manifests.VARIABLE] == str(here / "bench")


# --- what a plug-in may not do, and what it prints


@pytest.mark.parametrize(
    ("kind", "imported", "code", "said"),
    [
        ("metrics", "metrics.latency import METRICS", 2, "there is a metric 'latency/forward' already"),
        ("passes", "passes.inspect import PASS", 0, "its PASS is named 'inspect'. Name it 'mine'"),
    ],
)
def test_what_is_shipped_cannot_be_replaced(
    kind: str, imported: str, code: int, said: str, tmp_path: Path, modbench: Any
) -> None:
    """Whoever asks for the metric is told; a pass that nobody can ask for is named in the list."""
    write(tmp_path, {f"{kind}/mine.py": f'"""Mine."""\nfrom modbench.harness.measure.{imported}\n'})
    words = ("plan", "quick", "--set", 'metrics=["latency/forward"]', "--seq-len", "16", "--device", "cpu")
    done = modbench(*words, "--plugin", ".", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert (said in done.stderr) is (code == 2)
    listed = modbench("list", kind, "--check", "--plugin", ".", cwd=tmp_path)
    assert listed.returncode == 1
    assert said in listed.stdout


def test_a_pass_that_leaves_other_notes_than_it_names_fails_at_once() -> None:
    """Its record could not be read back."""

    class Other(Notes):
        pass

    for left in (Other(), Outcome.model_construct(notes=Other())):
        with pytest.raises(AssertionError, match="inspect left Other"):
            worker._check_notes(catalogue.passes()["inspect"], [left])


def test_report_of_a_folder_that_a_plug_in_made(tmp_path: Path, modbench: Any) -> None:
    """The plug-in prints it; without the plug-in one line says which is needed."""
    prints = "def REPORT(folder, *, as_json, quiet): print(f'{folder.name}, {as_json}')"
    folder, made = write(tmp_path / "own", {"reports/mine.py": prints}), tmp_path / "made"
    made.mkdir()
    (made / "mine.json").write_text('{"plugin": "own"}')
    done = modbench("report", made, "--plugin", folder)
    assert (done.returncode, done.stdout) == (0, "made, False\n")
    assert modbench("report", made, "--plugin", folder, "--baseline", "dense").returncode == 2
    missing = modbench("report", made)
    assert missing.returncode == 2
    assert f"{made} needs the plug-in 'own'" in missing.stderr
    (made / "mine.json").write_text("[")
    assert "no run.json" in modbench("report", made).stderr
