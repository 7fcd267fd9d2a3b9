"""Tests as they are started: under nohup, beside a busy machine, and where one of them fails."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_tests_hear_signals_that_were_ignored_when_they_were_started() -> None:
    """As under `nohup`, and in the background of a script, where SIGHUP and SIGINT are ignored."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"),
        "tests/harness/test_stopping.py::test_a_signal_stops_a_run",
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
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=3000", "tests/harness"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.returncode == 0, done.stdout
