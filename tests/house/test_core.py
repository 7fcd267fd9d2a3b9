"""The core stands alone: a copy of the package without `plugins/` makes of a run of `quick` what the whole package makes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import goldens
import pytest

import modbench

ROOT = Path(__file__).parents[2]
PACKAGE = Path(modbench.__file__).parent
# One process of the core: commands that it has and lacks, a run of `quick`, and what makes its part of the golden of `quick`.
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
import modbench
try:
    modbench.plan
except AttributeError as error:
    absent = str(error)
made = dataclasses.asdict(goldens.made("quick", here / "golden"))
print(json.dumps({"told": [[each.returncode, each.stdout, each.stderr] for each in told], "made": made, "absent": absent}))
"""
SMALL = [
    word
    for key in ("d_model=32", "n_layers=2", "train.seq_len=32", "train.tokens=512", "train.val_tokens=256")
    for word in ("--set", key)
]
COMMANDS = {
    "help": ["--help"],
    # One variant at one length, with its anchor: counted, timed and trained.
    "run": ["run", "quick", "--seq-len", "32", "-k", "mod[c0.125-T32", "--effort", "smoke", *SMALL, "-o", "run"],
}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a copy of the package without plug-ins worked; `made.json` says what it made and told."""
    here = tmp_path_factory.mktemp("core")
    copy = here / "package" / "modbench"
    shutil.copytree(PACKAGE, copy)  # with what is compiled already, which counts only where its source is
    shutil.rmtree(copy / "plugins")
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


@pytest.mark.slow
def test_it_makes_of_a_stored_run_what_the_whole_package_makes(core: Path) -> None:
    made = json.loads((core / "made.json").read_text(encoding="utf-8"))["made"]
    for part, files in made.items():
        here = {path.name: path.read_text(encoding="utf-8") for path in (goldens.HERE / "quick" / part).glob("*")}
        assert files.keys() == here.keys()
        for name, content in files.items():
            assert goldens.first_difference(part, here[name], content) == "", name


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
def test_it_has_its_own_commands(core: Path) -> None:
    _, shown, _ = told(core, "help")
    assert all(f" {word} " in shown for word in ("run", "resume", "plan", "report", "list", "gate", "watch"))
    assert not any(f" {word} " in shown for word in ("verify", "convert", "train", "ab", "profile"))


@pytest.mark.slow
def test_a_name_of_a_plug_in_that_is_absent_is_said_plainly(core: Path) -> None:
    said = json.loads((core / "made.json").read_text(encoding="utf-8"))["absent"]
    assert said.startswith("modbench.plan is in a plug-in that is absent: `modbench list plugins` ")
