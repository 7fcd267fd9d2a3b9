"""No fault loses a finished job, runs one twice, or leaves a wrong number: `fault_table.py` at one moment, and at twenty."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stub_jobs
from in_process import Modbench, succeeded
from present import present

TABLE = Path(__file__).parent / "fault_table.py"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMES = [line.split(" | ")[0].removeprefix("| ") for line in DOCUMENT.splitlines() if line.endswith(" | 0 | 0 | 0 |")]
# The others are met in the same way as one of these, or by a test of their own: at twenty moments they have a turn too.
OFTEN = {
    "SIGKILL of the runner",
    "SIGKILL of the fork server",
    "one Ctrl-C",
    "disk full",
    "clock set back",
    "a unit that dies after its record",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


@pytest.fixture(scope="module")
def table() -> Iterator[subprocess.Popen[str]]:
    """One process that has loaded everything brings the faults about that it is asked for."""
    command = [sys.executable, str(TABLE), "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert json.loads(present(process.stdout).readline()) == NAMES, "not the faults of the documented table"
        yield process
        present(process.stdin).close()


@pytest.mark.parametrize(
    ("moments", "name"),
    [
        *((1, name) for name in NAMES if name in OFTEN),
        *(pytest.param(20, name, marks=pytest.mark.proof) for name in NAMES),
    ],
)
def test_a_fault_costs_nothing(table: subprocess.Popen[str], moments: int, name: str) -> None:
    print(moments, name, file=present(table.stdin), flush=True)
    line = present(table.stdout).readline()
    assert line, f"the table ended with {table.wait()}"
    found = json.loads(line)
    assert (found["lost"], found["duplicated"], found["wrong"], found["problems"]) == (0, 0, 0, [])
    assert found["moments"] == moments


@pytest.mark.proof
@pytest.mark.parametrize(("options", "room"), [("size=80k", "size=8m"), ("size=8m,nr_inodes=8", "nr_inodes=10k")])
def test_a_file_system_that_is_full(
    options: str, room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modbench_process: Modbench
) -> None:
    """A real one, in memory: the run ends with one line and exit code 3, and goes on when there is room."""
    run = tmp_path / "run"
    run.mkdir()
    if mount(f"-t tmpfs -o {options} tmpfs", run):
        pytest.skip("this user may not mount a file system")
    try:
        monkeypatch.setenv("MODBENCH_PLUGINS", str(TABLE.parent / "stubs"))
        monkeypatch.setenv("PYTHONPATH", str(TABLE.parent), prepend=os.pathsep)
        full = modbench_process("run", "stubs", "--device", "cpu", "-o", "run", cwd=tmp_path)
        assert full.returncode == 3, full.stderr
        said = [line for line in full.stderr.splitlines() if line.startswith("modbench: ")]
        assert len(said) == 1, full.stderr
        # The second where a job's record did not fit and less still does.
        assert os.strerror(errno.ENOSPC) in said[0] or "disk is full" in said[0]
        assert mount(f"-o remount,{room}", run) == 0
        succeeded(modbench_process("resume", "run", cwd=tmp_path))
        assert all(stub_jobs.good(file) for file in (run / "jobs").iterdir())
    finally:
        subprocess.run(["/bin/umount", str(run)], check=True)


def mount(words: str, place: Path) -> int:
    return subprocess.run(["/bin/mount", *words.split(), str(place)], capture_output=True, check=False).returncode
