"""Fewer words to type: the newest run, a suite typed as a command, and what was meant by a path that does not exist."""

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

Modbench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, of which the first by name is the newest, and files of a user's."""
    folder = tmp_path_factory.mktemp("here")
    for name, when in (("new-20261129-1", 2e9), ("old-20261129-1", 1e9)):
        run = compared_run(folder / "runs" / name, suite={"grid": {"seq_len": [64]}, "processes": 3}).path
        os.utime(run / "run.json", (when, when))
    (folder / "runs" / "zz-no-run").mkdir()
    (folder / "runs" / "latest").symlink_to("old-20261129-1")
    os.utime(folder / "runs" / "old-20261129-1", (3e9, 3e9))  # a report that was written into it later
    (folder / "own.toml").write_text('metrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n')
    (folder / "mine.py").write_text("def build(config):\n    ...\n")
    (folder / "novels.txt").write_text("a text\n")
    (folder / "times.json").write_text("{}")
    (folder / "my_llama").mkdir()
    (folder / "my_llama" / "config.json").write_text("{}")
    return folder


# --- the newest run


NEWEST = "runs/new-20261129-1"
READ = [
    *("report", "watch", "compare --by capacity"),
    pytest.param("recommend", marks=pytest.mark.plugin("recommend")),
]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("command", READ)
def test_the_newest_run_is_read_and_named_in_the_first_line(command: str, here: Path, modbench: Modbench) -> None:
    found = modbench(*command.split(), cwd=here)
    assert found.returncode in {0, 4}, found.stderr  # planted runs have no end
    first, _, rest = found.stdout.partition("\n")
    assert first.split()[-1] == NEWEST
    asked = modbench(*command.split()[:1], NEWEST, *command.split()[1:], cwd=here)
    assert rest == asked.stdout
    for words in ((), (NEWEST,)) if command != "report" else ((),):  # which draws a page each time
        shown = json.loads(modbench(*command.split()[:1], *words, *command.split()[1:], "--json", cwd=here).stdout)
        assert next(iter(shown.items())) == ("run", NEWEST)


def failed(folder: Path, name: str, when: float) -> None:
    """Add a run in which every cell failed."""
    shutil.copytree(folder / "runs" / "old-20261129-1", folder / "runs" / name)
    fields = {"status": "failed", "kind": "error", "reason": "RuntimeError: no", "samples": {}, "notes": {}}
    for file in (folder / "runs" / name / "jobs").iterdir():
        reseal_with(file, lambda body: [outcome.update(fields) for outcome in body["outcomes"]])
    os.utime(folder / "runs" / name / "run.json", (when, when))


@pytest.mark.plugin("recommend")
@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_what_reads_values_passes_over_newer_runs_that_have_none(
    here: Path, tmp_path: Path, modbench: Modbench
) -> None:
    """A run that failed as a whole, and one that has not begun to measure; what shows how a run ended takes the newest."""
    shutil.copytree(here, tmp_path, dirs_exist_ok=True, symlinks=True)
    failed(tmp_path, "failed-20261130-1", 2.1e9)
    for command in ("recommend", "compare --by capacity"):
        found = modbench(*command.split(), cwd=tmp_path)
        assert found.returncode in {0, 4}, found.stderr
        first, _, rest = found.stdout.partition("\n")
        assert first.startswith("runs/failed-20261130-1 has no value")
        assert first.endswith(str(NEWEST))
        asked = modbench(*command.split()[:1], NEWEST, *command.split()[1:], cwd=tmp_path)
        assert rest == asked.stdout
    assert modbench("watch", cwd=tmp_path).stdout.startswith("newest run: runs/failed-20261130-1\n")
    begun = tmp_path / "runs" / "begun"
    (begun / "jobs").mkdir(parents=True)
    shutil.copy(tmp_path / NEWEST / "run.json", begun)
    os.utime(begun / "run.json", (2.2e9, 2.2e9))
    first = modbench("recommend", cwd=tmp_path).stdout.splitlines()[0]
    assert first.startswith("2 newer runs ")
    assert first.endswith(str(NEWEST))


@pytest.mark.plugin("recommend")
@pytest.mark.slow
def test_a_run_without_any_value_recommends_nothing_and_says_why(
    here: Path, tmp_path: Path, modbench: Modbench
) -> None:
    shutil.copytree(here / "runs" / "old-20261129-1", tmp_path / "runs" / "old-20261129-1")
    failed(tmp_path, "failed", 2.1e9)
    named = modbench("recommend", "runs/failed", cwd=tmp_path)
    assert named.returncode == 2
    assert "Nothing was measured: " in named.stderr
    assert "RuntimeError: no" in named.stderr
    assert "--minimize" not in named.stderr
    shutil.rmtree(tmp_path / "runs" / "old-20261129-1")
    newest = modbench("recommend", cwd=tmp_path)
    assert (newest.returncode, newest.stdout) == (2, "")
    assert newest.stderr.startswith(
        "modbench: no RUN was named, and none in runs/ here has a value; the newest is runs/failed"
    )


@pytest.mark.parametrize("command", READ)
def test_where_there_is_no_run_the_error_says_what_makes_one(command: str, tmp_path: Path, modbench: Modbench) -> None:
    done = modbench(*command.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "`modbench run quick`" in done.stderr


# --- what was meant


# --- the files of a report


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_report_in_a_format_prints_the_paths_of_its_files(
    quiet: tuple[str, ...], here: Path, tmp_path: Path, modbench: Modbench
) -> None:
    done = modbench("report", NEWEST, "--format", "md,json", "-o", tmp_path, *quiet, cwd=here)
    assert done.stdout.splitlines() == [str(tmp_path / "report.md"), str(tmp_path / "report.json")]
