"""No fault loses a finished unit, runs one twice, or leaves a wrong number: `fault_table.py` at one moment, and at twenty."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_jobs
from in_process import succeeded
from present import present

TABLE = Path(__file__).parent / "fault_table.py"
DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]
NAMES = [
    "SIGKILL of the runner",
    "SIGKILL of a worker",
    "SIGKILL of the fork server",
    "SIGKILL of a unit's minder",
    "SIGTERM",
    "SIGHUP",
    "one Ctrl-C",
    "two Ctrl-C",
    "disk full",
    "quota used up",
    "no inodes",
    "read-only",
    "input/output error",
    "folder moved away",
    "clock set back",
    "a run and two resumes at once",
    "a lock that is stolen",
    "a torn record",
    "a record of no bytes",
    "no HOME, no entry in passwd",
    "a unit that hangs",
    "a unit that dies after its record",
]


def served(moments: int) -> Iterator[subprocess.Popen[str]]:
    """One process that has loaded everything brings the faults about that it is asked for."""
    command = [sys.executable, str(TABLE), "--serve", "--moments", str(moments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        present(process.stdin).close()


@pytest.fixture(scope="module")
def one() -> Iterator[subprocess.Popen[str]]:
    yield from served(1)


@pytest.fixture(scope="module")
def many() -> Iterator[subprocess.Popen[str]]:
    yield from served(20)


def row(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    print(name, file=present(process.stdin), flush=True)
    line = present(process.stdout).readline()
    assert line, f"the table ended with {process.wait()}"
    return dict(json.loads(line))


# Met in the same way as another one of the table: at twenty moments they have a turn too.
LIKE_OTHERS = (
    "SIGTERM",
    "SIGHUP",
    "quota used up",
    "no inodes",
    "read-only",
    "input/output error",
    "a record of no bytes",
    "SIGKILL of a worker",  # test_faults.py
    "SIGKILL of a unit's minder",  # test_parent_death.py
    "a run and two resumes at once",  # test_lock.py, test_resuming.py
    "a unit that hangs",  # test_faults.py
    "two Ctrl-C",  # test_stopping.py
    "folder moved away",  # test_lock.py
    "a lock that is stolen",  # test_lock.py
    "a torn record",  # test_damaged.py
    "no HOME, no entry in passwd",  # test_refusals.py
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.proof if name in LIKE_OTHERS else ()) for name in NAMES]
)
def test_a_fault_costs_nothing(one: subprocess.Popen[str], name: str) -> None:
    found = row(one, name)
    assert (found["lost"], found["duplicated"], found["wrong"], found["problems"]) == (0, 0, 0, [])
    assert found["moments"]


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_costs_nothing_at_twenty_moments(many: subprocess.Popen[str], name: str) -> None:
    found = row(many, name)
    assert (found["lost"], found["duplicated"], found["wrong"], found["problems"]) == (0, 0, 0, [])
    assert found["moments"] == 20


@pytest.mark.proof
@pytest.mark.parametrize(("options", "room"), [("size=80k", "size=8m"), ("size=8m,nr_inodes=8", "nr_inodes=10k")])
def test_a_file_system_that_is_full(options: str, room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, in memory: the run ends with one line and exit code 3, and goes on when there is room."""
    run = tmp_path / "run"
    run.mkdir()
    if refused(f"-t tmpfs -o {options} tmpfs", run):
        pytest.skip("this user may not mount a file system")
    try:
        monkeypatch.setenv("MODBENCH_PLUGINS", str(TABLE.parent / "stubs"))
        monkeypatch.setenv("PYTHONPATH", str(TABLE.parent), prepend=os.pathsep)
        full = modbench("run", "stubs", "--device", "cpu", "-o", "run", cwd=tmp_path)
        assert full.returncode == 3, full.stderr
        said = [line for line in full.stderr.splitlines() if line.startswith("modbench: ")]
        assert len(said) == 1, full.stderr
        # The second where a unit's record did not fit and less still does.
        assert os.strerror(errno.ENOSPC) in said[0] or "disk is full" in said[0]
        assert not refused(f"-o remount,{room}", run)
        succeeded(modbench("resume", "run", cwd=tmp_path))
        assert all(stub_jobs.good(file) for file in (run / "jobs").iterdir())
    finally:
        subprocess.run(["/bin/umount", str(run)], check=True)


def refused(words: str, grid_point: Path) -> bool:
    """Whether `mount` refuses."""
    return (
        subprocess.run(["/bin/mount", *words.split(), str(grid_point)], capture_output=True, check=False).returncode
        != 0
    )


def modbench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modbench", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_every_fault_stands_in_the_documented_table() -> None:
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines if line.endswith(" | 0 | 0 | 0 |")] == NAMES
