"""`import modbench as mb`: what it loads, what its functions return, and that scripts need no `__main__` guard."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import modbench as mb
from modbench import api, keywords
from modbench.harness.core.errors import UsageError
from modbench.plugins.python import runs

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
        (lambda: mb.run(capacity="half"), "--capacity takes shares.*'half'"),  # type: ignore[arg-type]
        (lambda: mb.run(option=3), "option takes a dict"),  # type: ignore[arg-type]
        (lambda: mb.run(compile="yes"), "compile takes True or False; got 'yes'"),  # type: ignore[arg-type]
        (lambda: mb.run(timeout="soon"), "timeout"),
        (lambda: mb.cost(3), "model takes .*got int"),  # type: ignore[arg-type]
        (lambda: mb.run(plugin="nowhere"), "nowhere"),
        (lambda: mb.load("nowhere"), "not a run folder"),
    ],
)
def test_mistakes_are_said_in_a_line(call: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


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
