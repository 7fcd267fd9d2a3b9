"""The selections of tests: the quick ones reach every package, and the timed ones hold beside a busy machine."""

from __future__ import annotations

import configparser
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
HARNESS = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
PACKAGES = {"cli", "models", "reports", "suites", *(f"harness.{package}" for package in HARNESS)}


def test_the_quick_tests_reach_every_room(request: pytest.FixtureRequest) -> None:
    """Each folder of tests has quick ones, and each package is imported by a file that has some."""
    items = request.session.items
    if {item.path.parent.name for item in items} != FOLDERS:
        pytest.skip("only a part of the tests is collected: run them all, or `tox -e fast`")
    quick = {
        item.path for item in items if not item.get_closest_marker("slow") and not item.get_closest_marker("proof")
    }
    assert {path.parent.name for path in quick} == FOLDERS
    text = "\n".join(path.read_text(encoding="utf-8") for path in quick)
    reached = set(re.findall(r"from modbench\.(harness\.\w+|\w+)", text))
    reached |= {"suites"} if "load_suite(" in text else set()  # found by name and never imported
    assert reached >= PACKAGES


def test_every_supported_python_and_the_oldest_torch_are_tested_before_a_release() -> None:
    """What pyproject.toml promises and what `tox -e proof` runs are the same; a Python that is missing is no reason to skip."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), flags=re.MULTILINE)
    (oldest,) = [need.partition(">=")[2] for need in project["dependencies"] if need.startswith("torch>=")]
    assert project["requires-python"] == f">={pythons[0]}"
    short, torch = [f"py{version.replace('.', '')}" for version in pythons], f"torch{oldest.replace('.', '')}"
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    wanted = [f"proof-{short[0]}", *short[1:], f"{short[0]}-{torch}"]
    assert f"run -e {','.join(wanted)} --" in tox["testenv:proof"]["commands"]
    assert f"testenv:proof-{{{','.join(short)}}}" in tox
    assert f"{torch}: torch == {oldest}.*" in tox["testenv"]["deps"]
    assert tox["tox"]["skip_missing_interpreters"] == "false"


@pytest.mark.slow
def test_tests_hear_signals_that_were_ignored_when_they_were_started() -> None:
    """As under `nohup`, and in the background of a script, where SIGHUP and SIGINT are ignored."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"),
        "tests/harness/test_stopping.py::test_a_finished_run_is_not_interrupted_while_it_prints",
        "tests/harness/test_stopping.py::test_a_worker_hears_the_question",
    ]
    ignored = f"trap '' HUP INT; exec {shlex.join(command)}"
    done = subprocess.run(["/bin/sh", "-c", ignored], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_test_that_fails_leaves_no_process_behind(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/harness"))
    pytester.makepyfile(
        """
        import pathlib, subprocess, sys
        def test_it():
            waiting = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
            pathlib.Path("pid").write_text(str(waiting.pid))
            raise AssertionError
        """
    )
    pytester.runpytest_subprocess("-p", "left_behind").assert_outcomes(failed=1)
    pid = int((pytester.path / "pid").read_text())
    try:
        waiting = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = select.select([waiting], [], [], 600)[0]
    os.close(waiting)
    if not gone:
        os.kill(pid, signal.SIGKILL)
    assert gone


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_what_is_timed_holds_beside_eight_busy_processes() -> None:
    """No test of a clock, a process or a schedule fails on a machine that is busy with other work."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    names = ("busy", "noise", "doctor", "faults", "interleave", "planted", "profiling", "trainer")
    files = [f"tests/harness/test_{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=3000", *files]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.returncode == 0, done.stdout
