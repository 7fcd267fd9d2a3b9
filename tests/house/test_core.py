"""The core stands alone: a copy of the package without its additions makes of a run of `quick` what the whole package makes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import goldens
import pytest

import modbench
from modbench.reports.panel import panels

ROOT = Path(__file__).parents[2]
PACKAGE = Path(modbench.__file__).parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
(CONTRACT,) = (each for each in CONTRACTS["contracts"] if each["type"] == "additions")
# Parts of the page that are additions.
SECTIONS = ("Which settings are worth considering?",)
# What makes the golden of `quick`, without commands and formats that are additions.
MAKE = """
import dataclasses, json, sys
from pathlib import Path
import goldens
from modbench.reports.writers import html
html.to_svg = lambda *_: "<svg></svg>"  # words are compared, and test_it_runs_quick draws
goldens.MORE, goldens.EVERY["files"] = {"quick": {}}, "report run --format md,json -o views"
print(json.dumps(dataclasses.asdict(goldens.made("quick", Path(sys.argv[1])))))
"""


def paths_of(module: str) -> Path:
    """The file or folder of a module, in a package."""
    path = Path(*module.split(".")[1:])
    return path if (PACKAGE / path).is_dir() else path.with_suffix(".py")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which Python imports a copy of the package without additions."""
    copy = tmp_path_factory.mktemp("core") / "modbench"
    shutil.copytree(PACKAGE, copy)  # with what is compiled already, which counts only where its source is
    for module in CONTRACT["additions"]:
        path = copy / paths_of(module)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    tests = [str(ROOT / "tests" / folder) for folder in ("goldens", "harness")]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(copy.parent), *tests])}


def ran(core: Mapping[str, str], *command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], env=core, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_additions(name: str, stored: str) -> str:
    """What is stored, without what additions make of it."""
    if name == "exit_codes.json":
        codes = json.loads(stored).items()
        return goldens.as_json({each.replace("tex,", ""): code for each, code in codes if each.startswith("report ")})
    headings, kept, left = {panel.title for _, panel in panels()}, list[str](), False
    for line in stored.splitlines(keepends=True):
        if name == "page.txt" and line.strip() in headings:
            left = line.strip() in SECTIONS
        kept += [] if left or line.endswith(".tex\n") else [line]
    return "".join(kept)


@pytest.mark.slow
def test_it_makes_of_a_stored_run_what_the_whole_package_makes(core: Mapping[str, str], tmp_path: Path) -> None:
    """But for a part of the page, and for LaTeX."""
    made = json.loads(ran(core, "-c", MAKE, str(tmp_path), cwd=tmp_path))
    here = goldens.HERE / "quick"
    assert made["data"].keys() == {
        "breakeven.csv",
        "cases.csv",
        "comparisons.csv",
        "exchange.csv",
        "exit_codes.json",
        "report.json",
    }
    for part, files in made.items():
        for name, content in files.items():
            stored = (here / part / name).read_text(encoding="utf-8")
            same = goldens._same_data if part == "data" else goldens._same_words
            assert same(without_additions(name, stored), content) is None, name


@pytest.mark.slow
def test_it_runs_quick(core: Mapping[str, str], tmp_path: Path) -> None:
    """One arm at one length, with its anchor: counted, timed and trained."""
    small = ["--effort", "smoke"]
    for setting in ("d_model=32", "n_layers=2", "train.tokens=2048", "train.val_tokens=1024"):
        small += ["--set", setting]
    ran(core, "-m", "modbench", "run", "quick", "-k", "mod[c0.125-T256", *small, "-o", "run", cwd=tmp_path)
    measured, stored = (
        list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in (tmp_path / "run" / "cases.csv", goldens.HERE / "quick/data/cases.csv")
    )
    assert {row["metric"] for row in measured} == {row["metric"] for row in stored}
    assert {row["status"] for row in measured} == {"ok"}


# Asks for each of some settings, and prints the exit code and what was said.
ASK = """
import contextlib, io, json, sys
from modbench.cli import main
answers, settings = [], sys.argv[1:]
for setting in settings:
    sys.argv, said = ["modbench", "run", "quick", "--set", setting, "-o", "run"], io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            answers.append([ended.code, said.getvalue()])
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_what_it_lacks_is_refused_before_anything_runs(core: Mapping[str, str], tmp_path: Path) -> None:
    lacking = {"train.watch=true": "_routing", "metrics=task/copy": "task/copy"}
    answers = json.loads(ran(core, "-c", ASK, *lacking, cwd=tmp_path))
    for (code, said), name in zip(answers, lacking.values(), strict=True):
        assert code == 2
        assert name in said
    assert not (tmp_path / "run").exists()


def test_it_says_which_commands_it_has(core: Mapping[str, str], tmp_path: Path) -> None:
    shown = ran(core, "-m", "modbench", "--help", cwd=tmp_path)
    assert {word for word in ("run", "resume", "plan", "report", "list", "gate", "watch") if f" {word} " in shown} == {
        *("run", "resume", "plan", "report", "list")
    }
