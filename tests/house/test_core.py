"""The core stands alone: a copy of the package without its additions makes of a run of `quick` what the whole package makes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
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
# One process of the core: commands that it has and lacks, a run of `quick`, and what makes the golden of `quick`, without
# commands and formats that are additions.
MAKE = """
import dataclasses, json, sys
from pathlib import Path
import goldens, jobs_here
from in_process import command_line
from modbench.harness.execution.launch import local
from modbench.reports.writers import html
local.LAUNCHER = jobs_here.Here
here = Path(sys.argv[1])
(here / "golden").mkdir()
told = [command_line(*words, cwd=here) for words in json.loads(sys.argv[2])]
html.to_svg = lambda *_: "<svg></svg>"  # words are compared, and the run was drawn
goldens.MORE, goldens.EVERY["files"] = {"quick": {}}, "report run --format md,json -o views"
made = dataclasses.asdict(goldens.made("quick", here / "golden"))
print(json.dumps({"told": [[each.returncode, each.stdout, each.stderr] for each in told], "made": made}))
"""
SMALL = [
    word
    for key in ("d_model=32", "n_layers=2", "train.seq_len=32", "train.tokens=512", "train.val_tokens=256")
    for word in ("--set", key)
]
COMMANDS = {
    "help": ["--help"],
    "_routing": ["run", "quick", "--set", "train.watch=true", "-o", "lacking"],
    "task/copy": ["run", "quick", "--set", "metrics=task/copy", "-o", "lacking"],
    # One variant at one length, with its anchor: counted, timed and trained.
    "run": ["run", "quick", "--seq-len", "32", "-k", "mod[c0.125-T32", "--effort", "smoke", *SMALL, "-o", "run"],
}


def paths_of(module: str) -> Path:
    """The file or folder of a module, in a package."""
    path = Path(*module.split(".")[1:])
    return path if (PACKAGE / path).is_dir() else path.with_suffix(".py")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a copy of the package without additions worked; `made.json` says what it made and told."""
    here = tmp_path_factory.mktemp("core")
    copy = here / "package" / "modbench"
    shutil.copytree(PACKAGE, copy)  # with what is compiled already, which counts only where its source is
    for module in CONTRACT["additions"]:
        path = copy / paths_of(module)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    tests = [str(ROOT / "tests" / folder) for folder in ("goldens", "harness")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy.parent), *tests])}
    command = [sys.executable, "-c", MAKE, str(here), json.dumps([*COMMANDS.values()])]
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (here / "made.json").write_text(done.stdout, encoding="utf-8")
    return here


def told(core: Path, name: str) -> tuple[int, str, str]:
    """Exit code of a command, what it printed, and what it said."""
    code, out, err = json.loads((core / "made.json").read_text(encoding="utf-8"))["told"][[*COMMANDS].index(name)]
    return code, out, err


def without_additions(name: str, stored: str) -> str:
    """What is stored, without what additions make of it."""
    if name == "exit_codes.json":
        codes = json.loads(stored).items()
        return goldens.as_json({each.replace("tex,", ""): code for each, code in codes if each.startswith("report ")})
    if name == "sections.json":
        return goldens.as_json([title for title in json.loads(stored) if title not in SECTIONS])
    headings, kept, left = {panel.title for _, panel in panels()}, list[str](), False
    for line in stored.splitlines(keepends=True):
        title = line.strip().removeprefix("## ")
        if name == "page.txt" and title in headings:
            left = title in SECTIONS
        kept += [] if left or line.endswith(".tex\n") else [line]
    return "".join(kept)


@pytest.mark.slow
def test_it_makes_of_a_stored_run_what_the_whole_package_makes(core: Path) -> None:
    """But for a part of the page, and for LaTeX."""
    made = json.loads((core / "made.json").read_text(encoding="utf-8"))["made"]
    here = goldens.HERE / "quick"
    assert made["data"].keys() == {
        *(
            "breakeven.csv",
            "cases.csv",
            "comparisons.csv",
            "exchange.csv",
            "exit_codes.json",
            "report.json",
            "sections.json",
        )
    }
    for part, files in made.items():
        for name, content in files.items():
            stored = (here / part / name).read_text(encoding="utf-8")
            assert goldens.first_difference(part, without_additions(name, stored), content) == "", name


@pytest.mark.slow
def test_it_runs_quick(core: Path) -> None:
    assert told(core, "run")[0] == 0, told(core, "run")
    measured, stored = (
        list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in (core / "run" / "cases.csv", goldens.HERE / "quick/data/cases.csv")
    )
    assert {row["metric"] for row in measured} == {row["metric"] for row in stored}
    assert {row["status"] for row in measured} == {"ok"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["_routing", "task/copy"])
def test_what_it_lacks_is_refused_before_anything_runs(core: Path, name: str) -> None:
    code, _, said = told(core, name)
    assert (code, name in said) == (2, True), said
    assert not (core / "lacking").exists()


@pytest.mark.slow
def test_it_says_which_commands_it_has(core: Path) -> None:
    _, shown, _ = told(core, "help")
    assert {word for word in ("run", "resume", "plan", "report", "list", "gate", "watch") if f" {word} " in shown} == {
        *("run", "resume", "plan", "report", "list")
    }
