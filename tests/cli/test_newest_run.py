"""No RUN was named: the newest is read, or the newest with a value, and named in the first line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_compare import compared_run
from resealed import reseal_with

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

Modbench = Callable[..., subprocess.CompletedProcess[str]]

NEWEST, OLDER, FAILED = "runs/new-20261129-1", "runs/old-20261129-1", "runs/failed-20261130-1"
RECOMMEND = pytest.param("recommend", marks=pytest.mark.plugin("recommend"))
READ_VALUES = [RECOMMEND, "compare --by capacity"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, of which the first by name is the newest."""
    folder = tmp_path_factory.mktemp("here")
    for name, when in ((NEWEST, 2e9), (OLDER, 1e9)):
        run = compared_run(folder / name, suite={"grid": {"seq_len": [64]}, "processes": 3}).path
        os.utime(run / "run.json", (when, when))
    (folder / "runs" / "zz-no-run").mkdir()
    (folder / "runs" / "latest").symlink_to("old-20261129-1")
    os.utime(folder / OLDER, (3e9, 3e9))  # a report that was written into it later
    return folder


@pytest.fixture
def failed(here: Path, tmp_path: Path) -> Path:
    """The folder with a newer run in which every cell failed."""
    shutil.copytree(here, tmp_path, dirs_exist_ok=True, symlinks=True)
    shutil.copytree(here / OLDER, tmp_path / FAILED)
    fields = {"status": "failed", "kind": "error", "reason": "RuntimeError: no", "samples": {}, "notes": {}}
    for file in (tmp_path / FAILED / "jobs").iterdir():
        reseal_with(file, lambda body: [outcome.update(fields) for outcome in body["outcomes"]])
    os.utime(tmp_path / FAILED / "run.json", (2.1e9, 2.1e9))
    return tmp_path


def of_newest(command: str, cwd: Path, modbench: Modbench) -> str:
    """The first line of a command without a RUN; the rest is what it prints of the newest run by name."""
    found = modbench(*command.split(), cwd=cwd)
    assert found.returncode in {0, 4}, found.stderr  # planted runs have no end
    name, *words = command.split()
    first, _, rest = found.stdout.partition("\n")
    assert rest == modbench(name, NEWEST, *words, cwd=cwd).stdout
    assert first.split()[-1] == NEWEST
    return first


@pytest.mark.parametrize("command", ["report", "watch", *READ_VALUES])
def test_the_newest_run_is_read_and_named_in_the_first_line(command: str, here: Path, modbench: Modbench) -> None:
    of_newest(command, here, modbench)
    shown = json.loads(modbench(*command.split(), "--json", cwd=here).stdout)
    assert next(iter(shown.items())) == ("run", NEWEST)


@pytest.mark.parametrize("command", READ_VALUES)
def test_what_reads_values_passes_over_newer_runs_that_have_none(
    command: str, failed: Path, modbench: Modbench
) -> None:
    """A run that failed as a whole, and one that has not begun to measure; what shows how a run ended takes the newest."""
    assert of_newest(command, failed, modbench).startswith(f"{FAILED} has no value")
    assert modbench("watch", cwd=failed).stdout.startswith(f"newest run: {FAILED}\n")
    begun = failed / "runs" / "begun"
    (begun / "jobs").mkdir(parents=True)
    shutil.copy(failed / NEWEST / "run.json", begun)
    os.utime(begun / "run.json", (2.2e9, 2.2e9))
    assert of_newest(command, failed, modbench).startswith("2 newer runs ")


@pytest.mark.parametrize("command", ["report", "watch", *READ_VALUES])
def test_where_there_is_no_run_the_error_says_what_makes_one(command: str, tmp_path: Path, modbench: Modbench) -> None:
    done = modbench(*command.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "`modbench run quick`" in done.stderr
