"""The selections of tests: the quick ones reach every room, and the timed ones hold beside a busy machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
HARNESS = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
ROOMS = {"cli", "models", "reports", "suites", *(f"harness.{room}" for room in HARNESS)}


def test_the_quick_tests_reach_every_room(request: pytest.FixtureRequest) -> None:
    """Each folder of tests has quick ones, and each room is imported by a file that has some."""
    items = request.session.items
    if {item.path.parent.name for item in items} != FOLDERS:
        pytest.skip("only a part of the tests is collected: run them all, or `tox -e fast`")
    quick = {
        item.path for item in items if not item.get_closest_marker("slow") and not item.get_closest_marker("proof")
    }
    assert {path.parent.name for path in quick} == FOLDERS
    text = "\n".join(path.read_text(encoding="utf-8") for path in quick)
    reached = set(re.findall(r"from modbench\.(harness\.\w+|\w+)", text))
    # Some rooms' files are found by name and never imported.
    named = {
        "suites": "load_suite(",
        "harness.metrics": "catalogue.metrics()",
        "harness.doubts": 'catalogue.load("doubts"',
    }
    reached |= {room for room, call in named.items() if call in text}
    assert reached >= ROOMS


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_what_is_timed_holds_beside_eight_busy_processes() -> None:
    """No test of a clock, a process or a schedule fails on a machine that is busy with other work."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    names = ("busy", "contamination", "doctor", "faults", "interleave", "planted", "profiling", "trainer")
    files = [f"tests/harness/test_{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=3000", *files]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.returncode == 0, done.stdout
