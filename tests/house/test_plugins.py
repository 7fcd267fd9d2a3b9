"""Each plug-in of modbench: what it lists, what it imports, and what is left where its folder is absent."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

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


def test_every_plugin_can_be_used_and_says_what_it_adds() -> None:
    assert {name: each.problem for name, each in SHIPPED.items() if each.problem} == {}
    assert [name for name, each in SHIPPED.items() if not re.fullmatch(r"[A-Z\w].*[.?]", each.about)] == []
    folders = {path.parent.name for path in ROOT.glob(f"plugins/*/{plugin_manifests.MANIFEST}")}
    assert folders - {plugin_manifests.EXAMPLE} == {*SHIPPED}


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
    copy = tmp_path / "package" / "modbench"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("tests"))
    shutil.rmtree(copy / "plugins" / name)
    needing = [each.name for each in SHIPPED.values() if name in each.needs]
    for other in needing:
        shutil.rmtree(copy / "plugins" / other)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy.parent), str(ROOT / "tests" / "harness")])}
    command = [sys.executable, "-c", CHECK]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown, _, listed = done.stdout.partition("=")[2].partition("\n [\n")
    gone = {word for each in (name, *needing) for word in SHIPPED[each].adds.get("commands", ())}
    assert not {word for word in gone if re.search(rf"^ +{word}  ", shown, flags=re.MULTILINE)}
    assert {each["name"] for each in json.loads(f"[{listed}")} == {*SHIPPED} - {name, *needing}


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
