"""`import modbench as mb`: what it loads, what its functions return, and that scripts need no `__main__` guard."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
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
    assert_type(mb.measure(abs, -1, rounds=6).median_s, float)
    assert_type(mb.compare({"a": abs, "b": abs}, (1,), rounds=6).ratio("b"), float)
    assert_type(mb.cost("mod", d_model=64), mb.Costs)
    with pytest.raises(UsageError, match="unknown workload 'backward'"):
        mb.compare({"a": abs, "b": abs}, workload="backward")  # type: ignore[arg-type]


TRIED = """--option threshold=0.5,0.7 --option 'layers=(0, 2)' --option 'mode="it'"'"'s"'"""


@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        ({"model": "mod", "compile": True, "device": None}, {}, "--model mod --compile"),
        ({"model": ["a.py:build(x=1,y=2)", "b.py:b"]}, {}, "--model 'a.py:build(x=1,y=2)' --model b.py:b"),
        ({"capacity": [0.25, 0.5]}, {"seq_len": 64}, "--capacity 0.25,0.5 --seq-len 64"),
        ({"capacity": "0.25, 0.5"}, {"seeds": (0, 1)}, "--capacity 0.25,0.5 --seeds 0,1"),
        ({}, {"tied": True, "train.steps": 3, "every": 2}, "--set tied=true --set train.steps=3 --set every=2"),
        ({}, {"metrics": ["flops/forward", "loss/val"]}, """--set 'metrics=["flops/forward", "loss/val"]'"""),
        ({"option": {"threshold": [0.5, 0.7], "layers": (0, 2), "mode": "it's"}}, {}, TRIED),
        ({"option": ["threshold=0.5,0.7", "layers=(0,2)", "mode=it's"]}, {}, TRIED),
    ],
)
def test_values_become_the_words_of_the_command_line(values: Any, settings: Any, words: str) -> None:
    assert keywords.words(keywords.overrides(values, settings)) == shlex.split(words)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mb.run(capcity=0.5), "Did you mean 'capacity'"),
        (lambda: mb.cost("mod", dmodel=3), "'dmodel'.* 'd_model'"),
        (lambda: mb.run(seq_len={"a": 1}), "seq_len takes"),  # type: ignore[arg-type]
        (lambda: mb.run(seq_len=12.5), "--seq-len takes whole numbers .*'12.5'"),  # type: ignore[arg-type]
        (lambda: mb.run(capacity="half"), "--capacity takes shares.*'half'"),  # type: ignore[arg-type]
        (lambda: mb.cost("mod", capacity=()), "capacity needs at least one value"),
        (lambda: mb.run(option=3), "option takes a dict"),  # type: ignore[arg-type]
        (lambda: mb.run(option={"threshold": 3}), "--option threshold: .*--model"),
        (lambda: mb.plan(option="threshold"), "threshold=0.5"),
        (lambda: mb.run(compile="yes"), "compile takes True or False; got 'yes'"),  # type: ignore[arg-type]
        (lambda: mb.run(d_model=object()), "d_model.*object"),
        (lambda: mb.run(timeout="soon"), "timeout"),
        (lambda: mb.cost(3), "model takes .*got int"),  # type: ignore[arg-type]
        (lambda: mb.run(3), "suite takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.run(settings=["a"]), "settings must be"),  # type: ignore[arg-type]
        (lambda: mb.run(plugin=3), "plugin takes a folder"),  # type: ignore[arg-type]
        (lambda: mb.plan(select=3), "select takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.resume(3), "run_folder takes text; got 3"),  # type: ignore[arg-type]
        (lambda: mb.run(plugin="nowhere"), "nowhere"),
        (lambda: mb.load("nowhere"), "not a run folder"),
        (lambda: mb.load("nowhere", title="x"), "takes a dict"),  # type: ignore[arg-type]
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
FOUND = mb.Comparison((Row("a", 0.1), Row("b", 0.1)), "a", "forward", "cpu", 1, 1, 0.02)
METHODS = {f"found.{name}": getattr(FOUND, name) for name in ("verdict", "ratio", "save")}
OPEN = {"measure", "run", "plan", "cost", "audit"}  # which take further keywords, checked by what takes them


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


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_arguments_that_do_not_fit_are_one_line_that_says_what_would_work(name: str) -> None:
    call = {**FUNCTIONS, **METHODS}[name]
    parameters = [*inspect.signature(call).parameters.values()]
    kinds = {each.kind for each in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        assert re.search(rf"; got 20\. Write \S*{name}\(", refused(call, *["x"] * 20))
    needed = [
        each.name for each in parameters if each.default is each.empty and each.kind == each.POSITIONAL_OR_KEYWORD
    ]
    if needed:
        assert f"needs {needed[0]}. Write " in refused(call)
    if name not in OPEN:
        keyword = next(each.name for each in reversed(parameters) if len(each.name) > 3)
        wrong = keyword[:-2] + keyword[-1]
        assert f"{wrong!r}. Did you mean {keyword!r}?" in refused(call, **{wrong: 1})


def test_the_arguments_of_what_is_measured_are_told_from_those_of_measure() -> None:
    assert "Did you mean 'rounds'?" in refused(mb.measure, abs, -1, round=3)
    assert "Did you mean" not in refused(mb.measure, FOUND.rows.index, "x", 1, 2, 3)


def test_what_a_model_raises_keeps_its_frames() -> None:
    def deep(_x: int) -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError) as caught:
        mb.compare({"a": deep, "b": deep}, (1,))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "deep"


@pytest.mark.slow
def test_costs_are_those_of_the_command(modbench: Any) -> None:
    words = ("cost", "mod", "--set", "d_model=64", "--seq-len", "128,256")
    said, found = json.loads(modbench(*words, "--json").stdout), mb.cost("mod", d_model=64, seq_len=[128, 256])
    assert list(found.rows) == said
    assert found.table["flops/forward"].tolist() == [row["flops"]["forward"] for row in said]
    assert str(found) == modbench(*words).stdout.rstrip("\n")
    assert re.search(r"\bmod: 43\.4 MFLOP\b.*\b2 rows>", repr(found))
    assert found._repr_html_().count("<tr>") == 3


def test_a_plan_is_that_of_the_command() -> None:
    found = mb.plan("quick", effort="smoke", model="mod", capacity=0.25, seq_len=16, d_model=32)
    assert "'quick', smoke, 4 cases, " in repr(found)
    assert len(found.table) == 4
    assert "Nothing was measured." in str(found)
    assert found._repr_html_().count("<tr>") == 5


def test_a_run_is_that_of_the_command_which_it_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The run itself is the command line's; here only what is passed to it."""
    monkeypatch.chdir(tmp_path)
    seen: dict[str, Any] = {}

    def noted(plan: object, folder: Any, **more: Any) -> SimpleNamespace:
        seen.update(more, plan=plan, folder=folder)
        return SimpleNamespace(loaded=SimpleNamespace(measured=True), wall_s=2.0, report=Path("page"))

    monkeypatch.setattr(api, "run", noted)
    monkeypatch.setattr(runs, "Results", lambda *given: given)
    given: dict[str, Any] = {"effort": "smoke", "d_model": 32, "select": "mod", "out": "here", "timeout": "2min"}
    assert mb.run("quick", model="mod", device="cpu", quiet=True, **given)[1] == 2.0  # type: ignore[index]
    assert (seen["folder"].path, seen["timeout_s"]) == (Path("here"), 120)
    words = "quick --model mod --device cpu --effort smoke --set d_model=32 -k mod --out here"
    assert seen["command"] == ["modbench", "run", *words.split()]


def test_below_a_notebooks_cell_stands_a_line_now_and_then_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = type("ZMQInteractiveShell", (), {})  # what IPython says in a notebook
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=shell))
    plan, made = plan_of(["latency/forward"]), of_type(runs.Cell, runs._progress(tmp_path, quiet=False))
    made.clock = clock = Clock()
    tracker = tracking(plan, tmp_path, display=made, clock=clock)
    for job in plan.jobs:
        clock.now += 4.0
        tracker.started(job)
        tracker.ended(job)
    said, number = capsys.readouterr(), len(plan.jobs)
    shown = [line.partition("]")[0] for line in said.out.splitlines()]
    assert (shown, said.err) == ([f"[{i}/{number}" for i in (1, 5, 9, number)], "")
    monkeypatch.delitem(sys.modules, "IPython")
    assert not isinstance(runs._progress(tmp_path, quiet=False), runs.Cell)
