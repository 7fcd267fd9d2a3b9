"""`--include`, `modbench.toml` and `--router` as a user types them; the example folder; what a report says of a broken panel."""

from __future__ import annotations

import inspect
import json
import os
import py_compile
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

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
    (root / "modbench.toml").write_text('include = ["bench"]\n')
    return root


def listed(done: Any) -> set[str]:
    return set(json.loads(done.stdout)["metrics"])


def test_a_projects_file_counts_once_it_was_named(here: Path, modbench: Any) -> None:
    """Until then its code does not run, and one line says what to do; from then on also in a folder below it."""
    for code, *command in (
        (0, "list", "metrics", "--json"),
        (0, "list", "routers"),
        (2, "audit", "nosuch"),
        (2, "gate", "--paired", "quick", "--model", "a.py:b", "--model", "a.py:b"),
    ):
        done = modbench(*command, cwd=here / "sub")
        assert done.returncode == code, done.stderr
        assert "modbench.toml' is not used" in done.stderr
        assert f"--include {here / 'modbench.toml'}" in done.stderr
        assert len(done.stderr.splitlines()) == 1 + (code == 2)
        assert "weights/routers" not in done.stdout
    assert not (here.parent / "mark").exists()
    assert "weights/routers" in listed(
        modbench("list", "metrics", "--json", "--include", "../modbench.toml", cwd=here / "sub")
    )
    assert (here.parent / "mark").exists()
    again = modbench("list", "metrics", "--json", cwd=here / "sub")
    assert (again.stderr, "weights/routers" in listed(again)) == ("", True)
    # A file that includes something else is another one.
    (here / "other" / "routers").mkdir(parents=True)
    (here / "modbench.toml").write_text('include = ["bench", "other"]\n')
    changed = modbench("list", "metrics", "--json", cwd=here)
    assert "is not used" in changed.stderr
    assert "weights/routers" not in listed(changed)


def test_a_file_above_the_repository_does_not_count(here: Path, modbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one above the current folder where there is no repository: it may be anybody's."""
    (here.parent / "modbench.toml").write_text('include = ["project/bench"]\n')
    (here / "modbench.toml").unlink()
    assert modbench("list", "routers", cwd=here / "sub").stderr == ""
    (here / ".git").rmdir()
    assert modbench("list", "routers", cwd=here).stderr == ""
    monkeypatch.chdir(here.parent)
    assert project.search() == here.parent / "modbench.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('includes = ["bench"]', "'includes'. Did you mean"),
        ('include = "bench"', "list of folders"),
        ("include = [", "not TOML"),
        ('include = ["none"]', "include '"),
    ],
)
def test_a_wrong_file_is_refused_if_it_is_named_and_else_not_used(
    here: Path, modbench: Any, text: str, said: str
) -> None:
    (here / "modbench.toml").write_text(text)
    named = modbench("list", "routers", "--include", "modbench.toml", cwd=here)
    assert named.returncode == 2
    assert said in named.stderr
    unasked = modbench("list", "routers", cwd=here)
    assert unasked.returncode == 0
    assert "is not used" in unasked.stderr


def test_flags_come_before_the_environment_and_that_before_the_project(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flag", "environment"):
        (here / name / "routers").mkdir(parents=True)
    monkeypatch.chdir(here)
    project.read(Path("modbench.toml")).remember()
    monkeypatch.setenv(discovery.VARIABLE, str(here / "environment"))
    assert project.include(["flag"]) is None
    assert [folder.name for folder in discovery.included_folders()] == ["flag", "environment", "bench"]
    monkeypatch.setenv(discovery.VARIABLE, str(here / "gone"))
    with pytest.raises(UsageError, match=r"MODBENCH_INCLUDE .*gone.*no such folder"):
        project.include([])


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "units_here")
def test_the_example_folder_runs_and_its_run_finds_it_again(
    here: Path, modbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router, a metric, a task, a suite, a panel and a corpus; then broken panels, and the folder gone."""
    done = modbench("run", "tiny", "--include", "bench", "--device", "cpu", "-o", "run", "-q", cwd=here)
    assert done.returncode == 0, done.stderr
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
    (here / "modbench.toml").unlink()
    (here / "run" / "report.html").unlink()
    again = modbench("report", "run", cwd=here)
    assert (again.returncode, again.stderr) == (0, "")
    assert "How many weights" in (here / "run" / "report.html").read_text()
    (here / "bench" / "panels" / "raises.py").write_text(RAISES)
    (here / "bench" / "panels" / "syntax.py").write_text("PANEL = (")
    (here / "bench" / "doubts").mkdir()
    (here / "bench" / "doubts" / "bad.py").write_text("1 / 0\nDOUBT = 1")
    catalogue.forget()  # another process would read the folder anew
    unnamed = modbench("report", "run", cwd=here)
    assert unnamed.returncode == 2
    assert f"add --include {here / 'bench'}" in unnamed.stderr
    report = modbench("report", "run", "--include", "bench", cwd=here)
    assert (report.returncode, report.stderr) == (0, "")
    page = (here / "run" / "report.html").read_text()
    assert "raises.py cannot be shown" in page
    assert re.search(r"syntax\.py cannot [\w ]+: line 1: ", page)
    assert re.search(r"bad\.py [\w ]+: line 1: ZeroDivisionError", page)
    assert "How many weights" in page
    # What the run needs is not there: named, not run without it.
    record = next((here / "run" / "units").glob("train-*entropy*"))
    record.unlink()
    (here / "bench" / "routers" / "entropy.py").rename(here / "entropy.py")
    catalogue.forget()
    resumed = modbench("resume", "run", "--include", "bench", cwd=here)
    assert resumed.returncode == 2
    assert "routers/entropy: " in resumed.stderr
    assert f"'{here / 'bench' / 'routers' / 'entropy.py'}'" in resumed.stderr
    # Somebody else includes it only by saying so.
    monkeypatch.setenv("MODBENCH_STATE", str(here / "of another user"))
    (here.parent / "mark").unlink()
    strange = modbench("report", "run", cwd=here)
    assert strange.returncode == 2
    assert f"add --include {here / 'bench'}" in strange.stderr
    assert not (here.parent / "mark").exists()


@pytest.mark.slow
def test_a_router_is_named_on_the_command_line_and_in_the_id(here: Path, modbench: Any) -> None:
    """A sweep, as of capacities; beside a shipped one, alone, and in a suite's file."""
    spec = f"{EXAMPLES / 'routers' / 'scaled_norm.py'}:ROUTER"
    flags = (
        "--device",
        "cpu",
        "--json",
        "--set",
        "d_model=32",
        "--set",
        "n_layers=2",
        "--seq-len",
        "32",
        "--model",
        "mod",
    )

    def arms(*more: str) -> list[str]:
        done = modbench("plan", "quick", *flags, *more, cwd=here)
        assert done.returncode == 0, done.stderr
        found = (case["case"].partition("[")[2].partition("-T")[0] for case in json.loads(done.stdout)["cases"])
        return list(dict.fromkeys(arm for arm in found if arm.startswith("c")))

    assert arms("--capacity", "0.25", "--router", f"learned,norm,{spec}") == [
        *("c0.25-learned", "c0.25-norm", "c0.25-scaled_norm")
    ]
    assert arms("--capacity", "0.25,0.5", "--router", spec) == ["c0.25-scaled_norm", "c0.5-scaled_norm"]
    assert arms("--capacity", "0.25", "--set", f"router={spec}") == ["c0.25-scaled_norm"]
    shutil.copy(EXAMPLES / "routers" / "scaled_norm.py", here / "mine.py")
    suite = 'metrics = ["flops/forward"]\n[[arms]]\nmodel = "mod"\nrouter = ["norm", "mine.py:ROUTER"]\n[shape]\nd_model = 32\n'
    (here / "mine.toml").write_text(suite)
    beside = modbench("plan", here / "mine.toml", "--device", "cpu", cwd=here / "sub")
    assert beside.returncode == 0, beside.stderr
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
    """What takes them asks for consent, before anything else."""
    takes = {
        each.callback.__name__: "include" in inspect.signature(each.callback).parameters
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


ROUTER = "bench/routers/entropy.py"
CHANGES = {
    "a router": (ROUTER, ROUTER),
    "a helper of it": ("bench/routers/_words.py", "bench/routers/_words.py"),
    "what it imports": ("lib/deep.py", "lib/deep.py"),
    "the package of that": ("lib/__init__.py", "lib/__init__.py"),
    "a suite": ("bench/suites/tiny.toml", "bench/suites/tiny.toml"),
    "a model that the suite names": ("mine.py", "mine.py"),
    "a panel that is new": ("bench/panels/new.py", "bench/panels/new.py"),
    "a compiled module": ("bench/routers/fast.abi3.so", "bench/routers/fast.abi3.so"),
}


def fresh() -> None:
    """Import everything anew, as another process would."""
    catalogue.forget()
    for name in [name for name in sys.modules if name.startswith("modbench_include.")]:
        del sys.modules[name]


@pytest.fixture
def agreed(here: Path, modbench: Any) -> Path:
    """A project that the user agreed to, whose router imports a file beside the folder, and whose suite names a model."""
    (here / "lib").mkdir()
    for file in ("lib/__init__.py", "lib/deep.py", "bench/routers/_words.py", "mine.py", "notes.py", "bench/README.py"):
        (here / file).write_text("VALUE = 1\n")
    router = here / ROUTER
    router.write_text(f"{router.read_text()}\n\ndef later():\n    from lib.deep import VALUE\n    return VALUE\n")
    suite = here / "bench" / "suites" / "tiny.toml"
    suite.write_text(f'{suite.read_text()}\n[[arms]]\nmodel = "mine.py:build"\n')
    assert modbench("list", "metrics", "--include", "modbench.toml", cwd=here).returncode == 0
    (here.parent / "mark").unlink()
    fresh()
    return here


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_agreement_covers_what_is_included(agreed: Path, modbench: Any, change: str) -> None:
    """Another project in the same place, with the same modbench.toml, runs nothing unasked."""
    file, named = CHANGES[change]
    with (agreed / file).open("a") as written:
        written.write("# another's\n")
    fresh()
    done = modbench("list", "metrics", "--json", cwd=agreed / "sub")
    assert "modbench.toml' is not used" in done.stderr
    assert f"{named!r} changed" in done.stderr
    assert done.stderr.endswith(f"--include {agreed / 'modbench.toml'}\n")
    assert len(done.stderr.splitlines()) == 1
    assert "weights/routers" not in listed(done)
    assert not (agreed.parent / "mark").exists()
    modbench("list", "metrics", "--include", agreed / "modbench.toml", cwd=agreed)
    again = modbench("list", "metrics", "--json", cwd=agreed)
    assert (again.stderr, "weights/routers" in listed(again)) == ("", True)


def test_a_compiled_helper_is_not_run(agreed: Path, modbench: Any) -> None:
    """A file of bytecode that says it needs no check would run instead of the source that was hashed."""
    metric, helper = agreed / "bench" / "metrics" / "weights.py", agreed / "bench" / "metrics" / "_helper.py"
    path = f"import sys\nsys.path.insert(0, {str(helper.parent)!r})\nimport _helper\n"
    metric.write_text(f"{path}{metric.read_text()}")
    helper.write_text(f"import pathlib\npathlib.Path({str(agreed.parent / 'compiled')!r}).touch()\n")
    fresh()
    py_compile.compile(str(helper), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    helper.write_text("VALUE = 1\n")
    try:
        done = modbench("list", "metrics", "--json", "--include", "modbench.toml", cwd=agreed)
    finally:
        sys.modules.pop("_helper", None)
    assert "weights/routers" in listed(done)
    assert not (agreed.parent / "compiled").exists()


def test_another_project_in_the_same_place_is_another_one(agreed: Path, modbench: Any) -> None:
    shutil.move(agreed, agreed.with_name("old"))
    shutil.copytree(agreed.with_name("old"), agreed)
    for file in (agreed / "bench").glob("*/*.py"):
        file.write_text(f"import pathlib\npathlib.Path({str(agreed.parent / 'mark')!r}).touch()\n{file.read_text()}")
    fresh()
    done = modbench("list", "routers", "--check", cwd=agreed)
    assert "is not used" in done.stderr
    assert " more changed" in done.stderr
    assert not (agreed.parent / "mark").exists()


def test_what_is_not_loaded_may_change(agreed: Path, modbench: Any) -> None:
    """Files beside the folder that nothing imports, what Python compiled, and files that are gone."""
    (agreed / "notes.py").write_text("VALUE = 2\n")
    (agreed / "bench" / "README.py").write_text("VALUE = 2\n")
    (agreed / "bench" / "routers" / "__pycache__").mkdir(exist_ok=True)
    (agreed / "bench" / "routers" / "__pycache__" / "entropy.cpython-311.pyc").write_bytes(b"x")
    (agreed / "bench" / "routers" / "_words.py").unlink()
    done = modbench("list", "metrics", "--json", cwd=agreed)
    assert (done.stderr, "weights/routers" in listed(done)) == ("", True)


def test_a_folder_that_is_named_each_time_is_not_asked_about(agreed: Path, modbench: Any) -> None:
    """What a user does who edits it every minute."""
    (agreed / ROUTER).write_text((agreed / ROUTER).read_text() + "# better\n")
    done = modbench("list", "metrics", "--json", "--include", "bench", cwd=agreed)
    assert (done.stderr, "weights/routers" in listed(done)) == ("", True)
