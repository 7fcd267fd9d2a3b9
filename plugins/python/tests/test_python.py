"""`import modbench as mb`: what it loads, what its functions return, and that scripts need no `__main__` guard."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, assert_type

import pytest
from present import of_type
from test_progress import Clock, plan_of, tracking

import modbench as mb
from modbench import api, keywords
from modbench.harness.core.errors import UsageError
from modbench.plugins.python import runs
from modbench.plugins.python.comparison import Row

# Without those of plug-ins that are absent.
NAMES = [name for name in mb.__all__ if hasattr(mb, name)]
ROWS = (Row("a", 0.1), Row("b", 0.1))
FLAGS = {"device": "cpu", "effort": "smoke", "d_model": 32, "n_layers": 2, "metrics": "flops/forward,latency/forward"}
SCRIPT = """
import pathlib
import modbench as mb
from modbench import api
with pathlib.Path("started").open("a") as file:
    file.write("once ")
if True:  # where a guard would stand
    done = mb.run("quick", model="mod", capacity=0.25, seq_len=16, device="cpu", effort="smoke", rounds=1,
                  d_model=32, n_layers=2, metrics=["latency/forward"], out="run")
    print(repr(done))
    print(done.comparisons.ratio.isna().sum(), done.comparisons.status.tolist())
"""


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    (cwd / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"], cwd=cwd, capture_output=True, text=True, check=False, env=os.environ
    )


@pytest.mark.proof  # below without the run
def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Children of the fork server leave the script alone."""
    done = python(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "started").read_text() == "once "
    assert "<modbench run 'run'" in done.stdout
    assert "0 ['ok']" in done.stdout
    assert "left" in done.stderr  # progress


def test_every_name_is_there_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        assert getattr(mb, name) is not None
        monkeypatch.delitem(vars(mb), name)  # as before it was used
    assert {*mb.__all__} <= {*dir(mb)}
    with pytest.raises(AttributeError, match="no attribute 'compar'"):
        _ = mb.compar  # type: ignore[attr-defined]


@pytest.mark.slow
def test_type_checkers_see_the_types() -> None:
    """mypy reads this file: what is not as it is written here, and what is ignored without need, is an error there."""
    made = mb.measure(abs, -1, rounds=6)
    assert_type(made, mb.Measurement)
    assert_type(made.median_s, float)
    compared = mb.compare({"a": abs, "b": abs}, (1,), rounds=6)
    assert_type(compared, mb.Comparison)
    assert_type(compared.ratio("b"), float)
    assert_type(mb.cost("mod", d_model=64), mb.Costs)
    with pytest.raises(UsageError, match="unknown workload 'backward'"):
        mb.compare({"a": abs, "b": abs}, workload="backward")  # type: ignore[arg-type]


def test_values_become_the_flags_of_the_command_line() -> None:
    given = keywords.overrides(
        {"model": "mod", "capacity": [0.25, 0.5], "seq_len": 64, "compile": True, "device": None},
        {"d_model": 32, "metrics": ["flops/forward", "loss/val"], "tied": True, "train.steps": 3, "every": 2},
    )
    assert (given.capacity, given.seq_len, given.settings["metrics"]) == (
        (0.25, 0.5),
        (64,),
        ["flops/forward", "loss/val"],
    )
    assert keywords.words(given) == [
        *("--model", "mod", "--capacity", "0.25,0.5", "--seq-len", "64", "--compile", "--set", "d_model=32"),
        *("--set", 'metrics=["flops/forward", "loss/val"]', "--set", "tied=true", "--set", "train.steps=3"),
        *("--set", "every=2"),
    ]
    assert keywords.overrides({"capacity": "0.25, 0.5"}, {"seeds": (0, 1), "mixer": "window"}).seeds == (0, 1)
    several = {"model": ["a.py:build(x=1,y=2)", "b.py:build"], "router": ["norm", "learned"], "only": True}
    assert keywords.words(keywords.overrides(several, {})) == [
        *("--model", "a.py:build(x=1,y=2)", "--model", "b.py:build", "--only", "--router", "norm,learned"),
    ]
    tried = {"threshold": [0.5, 0.7], "layers": (0, 2), "mode": "it's"}
    for option in (tried, ["threshold=0.5,0.7", "layers=(0,2)", "mode=it's"]):
        assert keywords.words(keywords.overrides({"option": option}, {})) == [
            *("--option", "threshold=0.5,0.7", "--option", "layers=(0, 2)", "--option", 'mode="it\'s"'),
        ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mb.run(capcity=0.5), "Did you mean 'capacity'"),
        (lambda: mb.run(effort="brief"), "unknown effort 'brief'"),
        (lambda: mb.run(seq_len={"a": 1}), "seq_len takes"),  # type: ignore[arg-type]
        (lambda: mb.run(seq_len=12.5), "--seq-len takes whole numbers .*'12.5'"),  # type: ignore[arg-type]
        (lambda: mb.run(capacity="half"), "--capacity takes shares.*'half'"),  # type: ignore[arg-type]
        (lambda: mb.run(seq_len=[]), "seq_len needs at least one value"),
        (lambda: mb.cost("mod", capacity=()), "capacity needs at least one value"),
        (lambda: mb.run(option=3), "option takes a dict"),  # type: ignore[arg-type]
        (lambda: mb.run(option={"a b": 3}), "'a b' is no name"),
        (lambda: mb.run(option={"threshold": 3}), "--option threshold: .*--model"),
        (lambda: mb.plan(option="threshold"), "threshold=0.5"),
        (lambda: mb.run(compile="yes"), "compile takes True or False; got 'yes'"),  # type: ignore[arg-type]
        (lambda: mb.run(d_model=object()), "d_model.*object"),
        (lambda: mb.run(timeout="soon"), "timeout"),
        (lambda: mb.plan("quik"), "unknown suite 'quik'"),
        (lambda: mb.cost("mod", d_modl=3), "--set .*'d_modl'"),
        (lambda: mb.cost("mod", dmodel=3), "'dmodel'.* 'd_model'"),
        (lambda: mb.run("quick", dmodel=3), "'dmodel'.* 'd_model'"),
        (lambda: mb.plan("quick", dmodel=3), "'dmodel'.* 'd_model'"),
        (lambda: mb.cost(3), "model takes .*got int"),  # type: ignore[arg-type]
        (lambda: mb.run(3), "suite takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.run(timeout=3), "timeout takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.run(launcher=3), "launcher takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.run(settings=["a"]), "settings must be"),  # type: ignore[arg-type]
        (lambda: mb.run(plugin=3), "plugin takes a folder"),  # type: ignore[arg-type]
        (lambda: mb.plan(select=3), "select takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.resume(3), "run_folder takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.run(plugin="nowhere"), "nowhere"),
        (lambda: mb.load("nowhere"), "nowhere"),
        (lambda: mb.resume("nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_said_in_a_line(call: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


FUNCTIONS = {name: getattr(mb, name) for name in NAMES if inspect.isfunction(getattr(mb, name))}
METHODS = {
    f"Comparison.{name}": getattr(mb.Comparison(ROWS, "a", "forward", "cpu", 1, 1, 0.02), name)
    for name in ("verdict", "ratio", "save")
}
OPEN = {"measure", "run", "plan", "cost", "audit"}  # which take further keywords, checked by what takes them
SHORT = {"audit": 2, "cost": 2, "measure": None, "compare": 3, "load": 3, "plan": 2, "resume": 2, "run": 2}
NEEDS = {
    "audit": "model",
    "compare": "models",
    "cost": "model",
    "load": "run_folder",
    "measure": "f",
    "resume": "run_folder",
}


def refused(call: Any, *args: Any, **kwargs: Any) -> str:
    """The one line that a mistake gets, raised from the call itself and one frame below it."""
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    own = [frame for frame in traceback.extract_tb(caught.value.__traceback__) if frame.filename != __file__]
    assert len(own) == 1
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    return said


def test_every_function_has_an_expectation() -> None:
    assert {name for name in SHORT if name in NAMES} == {*FUNCTIONS}


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_arguments_that_do_not_fit_are_one_line_that_says_what_would_work(name: str) -> None:
    call = {**FUNCTIONS, **METHODS}[name]
    most = SHORT.get(name, 2)
    if most is not None:
        said = refused(call, *["x"] * most)
        assert f"; got {most}. Write " in said
    if name in NEEDS:
        assert f"needs {NEEDS[name]}. Write " in refused(call)
    if name not in OPEN:
        keyword = next(each for each in reversed(inspect.signature(call).parameters) if len(each) > 3)
        wrong = keyword[:-2] + keyword[-1]
        assert f"{wrong!r}. Did you mean {keyword!r}?" in refused(call, **{wrong: 1})


def test_the_arguments_of_what_is_measured_are_told_from_those_of_measure() -> None:
    assert "Did you mean 'rounds'?" in refused(mb.measure, abs, -1, round=3)
    assert "Did you mean" not in refused(mb.measure, ROWS.index, "x", 1, 2, 3)


def test_signatures_and_docstrings_are_seen() -> None:
    assert list(inspect.signature(mb.compare).parameters)[:3] == ["models", "inputs", "workload"]
    assert inspect.signature(mb.cost).return_annotation == "Costs"
    assert (mb.compare.__name__, mb.load.__module__) == ("compare", "modbench.plugins.python.frames")
    assert (mb.measure.__doc__ or "").startswith("Time a callable")


def test_what_a_model_raises_keeps_its_frames() -> None:
    def deep(_x: int) -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError) as caught:
        mb.compare({"a": deep, "b": deep}, (1,))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "deep"


@pytest.mark.slow
def test_costs_are_those_of_the_command(modbench: Any) -> None:
    said = json.loads(modbench("cost", "mod", "--set", "d_model=64", "--seq-len", "128,256", "--json").stdout)
    found = mb.cost("mod", d_model=64, seq_len=[128, 256])
    assert list(found.rows) == said
    assert found.table["flops/forward"].tolist() == [row["flops"]["forward"] for row in said]
    assert str(found) == modbench("cost", "mod", "--set", "d_model=64", "--seq-len", "128,256").stdout.rstrip("\n")
    assert re.search(r"\bmod: 43\.4 MFLOP\b.*\b2 rows>", repr(found))
    assert found._repr_html_().count("<tr>") == 3


def test_a_plan_is_that_of_the_command() -> None:
    found = mb.plan("quick", effort="smoke", model="mod", capacity=0.25, seq_len=16, d_model=32)
    assert "'quick', smoke, 4 cases, " in repr(found)
    assert len(found.table) == 4
    assert "Nothing was measured." in str(found)
    assert found._repr_html_().count("<tr>") == 5


def test_resuming_and_running_return_tables_and_record_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run itself is the command line's; here only what is passed to it."""
    monkeypatch.chdir(tmp_path)
    seen: dict[str, Any] = {}

    def noted(plan: object, folder: Any, **more: Any) -> SimpleNamespace:
        seen.update(more, plan=plan, folder=folder)
        return SimpleNamespace(loaded=SimpleNamespace(measured=True), wall_s=2.0, report=Path("page"))

    monkeypatch.setattr(api, "run", noted)
    monkeypatch.setattr(runs, "Results", lambda *given: given)
    given = {**FLAGS, "model": "mod", "select": "mod", "out": "here", "quiet": True, "timeout": "2min"}
    assert mb.run("quick", **given)[1] == 2.0  # type: ignore[index, arg-type]
    assert seen["folder"].path == Path("here")
    assert seen["timeout_s"] == 120
    assert seen["command"] == [
        *("modbench", "run", "quick", "--model", "mod", "--device", "cpu", "--effort", "smoke", "--set", "d_model=32"),
        *("--set", "n_layers=2", "--set", "metrics=flops/forward,latency/forward", "-k", "mod", "--out", "here"),
    ]


def test_below_a_notebooks_cell_stands_a_line_now_and_then_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ZMQInteractiveShell:
        """What IPython says in a notebook."""

    plan = plan_of(["latency/forward"])
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    made = of_type(runs.Cell, runs._progress(tmp_path, quiet=False))
    made.clock = clock = Clock()
    tracker = tracking(plan, tmp_path, display=made, clock=clock)
    for job in plan.jobs:
        clock.now += 4.0
        tracker.started(job)
        tracker.ended(job)
    said, wrong = capsys.readouterr()
    shown = [line.partition("]")[0] for line in said.splitlines()]
    number = len(plan.jobs)
    assert shown == [f"[{i}/{number}" for i in (1, 5, 9, number)]
    assert wrong == ""
    monkeypatch.delitem(sys.modules, "IPython")
    assert not isinstance(runs._progress(tmp_path, quiet=False), runs.Cell)
