"""The example, run as a user runs it: each kind is found, used and shown, and its question is answered in every output."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_catalogue import forget

from modbench.extend import catalogue, load, planted_plan, planted_run

HERE = Path(__file__).parents[1]
CASE = "mod[c0.125-entropy-T32-B1-fp32-cpu1]"


def modbench(folder, *words):
    """Run a command with the plug-in, and return what it printed."""
    command = [sys.executable, "-m", "modbench", *words, "--plugin", "mine"]
    environment = os.environ | {"MODBENCH_PLUGINS": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A copy of the plug-in under a name of its own, and a run of its suite."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(HERE, folder / "mine", ignore=shutil.ignore_patterns("__pycache__"))
    metrics = "metrics=flops/forward,weights/routers,layers/counted,loss/val,task/sums"
    flags = [word for each in (metrics, "train.log_to=lines", "layers.kind=RMSNorm") for word in ("--set", each)]
    modbench(folder, "run", "tiny", *flags, "--launcher", "counting", "--device", "cpu", "-o", "run", "-q")
    printed = modbench(folder, "report", "run", "--format", "lines,html,csv,md,json", "-v")
    (folder / "run" / "printed.txt").write_text(printed)
    return folder


def test_what_it_lists_is_found_and_its_command_runs(ran):
    (told,) = (each for each in json.loads(modbench(ran, "list", "plugins", "--json")) if each["name"] == "mine")
    files = {file for kind in told["adds"].values() for file in kind.values()}
    others = {"__init__.py", "plugin.toml", "README.md"}
    assert (told["problem"], files) == (
        "",
        {str(path) for path in (ran / "mine").glob("*.*") if path.name not in others},
    )
    assert "hello" in modbench(ran, "--help")
    assert modbench(ran, "hello") == "hello from a plug-in\n"


def test_its_numbers_are_those_that_it_made(ran):
    lines = (ran / "run" / "lines.txt").read_text().splitlines()
    values = {tuple(line.split()[:2]): float(line.split()[2]) for line in lines}
    assert values[CASE, "weights/routers"] == 0  # it learns nothing
    assert values[CASE, "layers/counted"] == 5  # two in each of two blocks, as --set says, and the last
    assert {metric for case, metric in values if "entropy" in case} >= {"task/sums", "loss/val"}
    started = sorted((ran / "run" / "started.txt").read_text().split())
    assert started == sorted(path.stem for path in (ran / "run" / "jobs").glob("*.json"))
    assert list((ran / "run" / "lines").glob("train-*.txt"))


def test_its_question_is_answered_in_every_output(ran):
    read = {
        name: (ran / "run" / name).read_text() for name in ("report.html", "report.md", "report.json", "printed.txt")
    }
    assert [said in read["report.html"] for said in ("How many weights", "Count them again.")] == [True, True]
    assert "### Weights of routers" in read["report.md"]
    assert re.search(r"^variant +weights\n\S+ +0$", read["printed.txt"], flags=re.MULTILINE)
    stored = json.loads(read["report.json"])["tables"]["router_weights"]
    with (ran / "run" / "router_weights.csv").open() as file:
        rows = [row | {"value": float(row["value"])} for row in csv.DictReader(file)]
    assert stored == rows
    assert {*stored[0]} == {"case_id", "variant", "value"}


def test_its_section_shows_what_was_planted(tmp_path, monkeypatch):
    """In a run in which every number is known."""
    monkeypatch.setenv("MODBENCH_PLUGINS", str(HERE))
    forget()
    plan = planted_plan("draft", metrics=["weights/routers"], train=None)
    folder = planted_run(tmp_path, plan, values={"weights/routers": {"mod[c0.5]": 256}})
    (table,) = catalogue.load("sections", "router_weights").render(load(folder))
    assert {variant: value.value for variant, value in table.rows} == {"mod[c0.5]": 256}
