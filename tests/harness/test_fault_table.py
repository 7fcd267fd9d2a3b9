"""No fault loses a finished job, runs one twice, or leaves a wrong number: `fault_table.py` at one moment, and at twenty."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from present import present

TABLE = Path(__file__).parent / "fault_table.py"
STORED = Path(__file__).parents[2] / "benchmarks" / "data" / "faults.csv"
NAMES = [row["fault"] for row in csv.DictReader(STORED.read_text(encoding="utf-8").splitlines())]
# The others are met in the same way as one of these, or by a test of their own: at twenty moments they have a turn too.
OFTEN = {
    "SIGKILL of the runner",
    "SIGKILL of the fork server",
    "one Ctrl-C",
    "disk full",
    "clock set back",
    "a job that dies after its record",
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
        assert json.loads(present(process.stdout).readline()) == NAMES, "not the faults of the stored table"
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
