"""Each plug-in of modbench: what it lists, what it imports, and what is left where its folder is absent."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import goldens
import pytest
from fresh_catalogue import forget
from product import ROOT, SOURCES

import modbench
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.registry import plugin_manifests

PACKAGE = Path(modbench.__file__).parent
SHIPPED = {plugin.name: plugin for plugin in plugin_manifests.every() if plugin.source == "shipped"}
# What a copy of modbench without one of its plug-ins must do, in one process.
CHECK = """
from in_process import command_line
for words in (["list"], ["list", "plugins", "--check"], ["--help"], ["list", "plugins", "--json"]):
    done = command_line(*words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    print("=" if words[0] == "--help" else "", done.stdout)
"""
# What the core alone must do: a run of `quick`, counted, timed and trained, and its part of the golden of `quick`.
MAKE = """
import dataclasses, json
from collections.abc import Iterable
from pathlib import Path
import goldens, jobs_here
from in_process import command_line, succeeded
from modbench.harness.execution.launchers import local
from modbench.reports.markup import html
local.LAUNCHER = jobs_here.Here
small = "--set d_model=32 --set n_layers=2 --set train.seq_len=32 --set train.tokens=512 --set train.val_tokens=256"
succeeded(command_line(*f"run quick --seq-len 32 -k mod[c0.125-T32 --effort smoke {small} -o run".split()))
html.to_svg = lambda *_: "<svg></svg>"  # words are compared, and the run was drawn
import modbench
try:
    modbench.plan
except AttributeError as error:
    absent = str(error)
Path("golden").mkdir()
print(json.dumps([absent, dataclasses.asdict(goldens.made("quick", Path("golden").absolute()))]))
"""


def without(names: Iterable[str], code: str, tmp_path: Path) -> str:
    """What a process prints in which modbench is a copy of the package without some plug-ins."""
    copy = tmp_path / "package" / "modbench"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("tests"))
    for name in names:
        shutil.rmtree(copy / "plugins" / name)
    tests = [str(ROOT / "tests" / folder) for folder in ("goldens", "harness")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy.parent), *tests])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_plugin_can_be_used_and_says_what_it_adds() -> None:
    assert {name: each.problem for name, each in SHIPPED.items() if each.problem} == {}
    assert [name for name, each in SHIPPED.items() if not re.fullmatch(r"[A-Z\w].*[.?]", each.about)] == []
    folders = {path.parent.name for path in ROOT.glob(f"plugins/*/{plugin_manifests.MANIFEST}")}
    assert folders - {plugin_manifests.EXAMPLE} == {*SHIPPED}


@pytest.mark.slow
def test_it_imports_another_only_if_it_needs_it() -> None:
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "plugins" or len(parts) < 3:
            continue
        others = {
            found[1]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (found := re.match(r"modbench\.plugins\.(\w+)", node.module or ""))
        }
        assert others - {parts[1]} <= {*(SHIPPED[parts[1]].needs if parts[1] in SHIPPED else ())}, path


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_its_folder_taken_away_takes_it_away_and_nothing_else(name: str, tmp_path: Path) -> None:
    """And what needs it says so."""
    needing = [each.name for each in SHIPPED.values() if name in each.needs]
    printed = without([name, *needing], CHECK, tmp_path)
    shown, _, listed = printed.partition("=")[2].partition("\n [\n")
    gone = {word for each in (name, *needing) for word in SHIPPED[each].adds.get("commands", ())}
    assert not {word for word in gone if re.search(rf"^ +{word}  ", shown, flags=re.MULTILINE)}
    assert {each["name"] for each in json.loads(f"[{listed}")} == {*SHIPPED} - {name, *needing}


@pytest.mark.slow
def test_the_core_alone_runs_and_makes_of_a_stored_run_what_the_whole_package_makes(tmp_path: Path) -> None:
    folders = [path.parent.name for path in PACKAGE.glob("plugins/*/plugin.toml")]
    absent, made = json.loads(without(folders, MAKE, tmp_path).splitlines()[-1])
    assert absent.startswith("modbench.plan is in a plug-in that is absent: `modbench list plugins` ")
    for part, files in made.items():
        here = {path.name: path.read_text(encoding="utf-8") for path in (goldens.HERE / "quick" / part).glob("*")}
        assert files.keys() == here.keys()
        for name, content in files.items():
            assert goldens.first_difference(part, here[name], content) == "", name
    run, golden = (
        list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in (tmp_path / "run/cases.csv", goldens.HERE / "quick/data/cases.csv")
    )
    assert {row["metric"] for row in run} == {row["metric"] for row in golden}
    assert {row["status"] for row in run} == {"ok"}


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("suites/*.toml")))
def test_a_suite_names_the_plugins_without_which_it_cannot_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {*tomllib.loads((ROOT / "suites" / f"{name}.toml").read_text(encoding="utf-8")).get("needs", ())}
    needs |= {other for each in needs for other in SHIPPED[each].needs}
    shipped = [*plugin_manifests._shipped()]
    monkeypatch.setattr(plugin_manifests, "_shipped", lambda: iter([each for each in shipped if each.name in needs]))
    forget()
    try:
        load_suite(name)
    finally:
        monkeypatch.undo()
        forget()
