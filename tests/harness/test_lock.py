"""One runner per folder: who may take it, and what happens to a runner that lost it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from present import present

from modbench.harness.core.errors import IncompleteError, UsageError
from modbench.harness.results import lock

HERE = socket.gethostname()
HOLDS = """
import pathlib, sys
from modbench.harness.results import lock
with lock.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def name(folder: Path, **changes: Any) -> None:
    """Let the lock's file name another runner; who has locked it does not change."""
    file = folder / lock.NAME
    file.write_text(json.dumps({"host": HERE, "pid": 7, "token": "theirs", "since": "2026-01-01"} | changes))


def refused(folder: Path, words: str, *, take_over: bool = False) -> None:
    with pytest.raises(UsageError, match=words), lock.hold(folder, take_over=take_over):
        pass


def refusing(monkeypatch: pytest.MonkeyPatch, owner: Any, function: str, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, function, refuse)


def test_a_second_runner_is_refused_by_name(tmp_path: Path) -> None:
    """Also one that would steal: on this host the lock shows that the first lives."""
    with lock.hold(tmp_path):
        for take_over in (False, True):
            words = f"in use by process {os.getpid()} on {HERE}, since 20.* end it first"
            refused(tmp_path, words, take_over=take_over)
        assert [file.name for file in tmp_path.iterdir()] == [lock.NAME]
    assert not list(tmp_path.iterdir())


def test_a_killed_runner_leaves_a_folder_that_the_next_takes(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runner:
        assert present(runner.stdout).readline() == "held\n"
        found = present(lock.find(tmp_path))
        assert (found.holder.pid, found.state) == (runner.pid, "alive")
        refused(tmp_path, f"process {runner.pid} on")
        runner.kill()
    assert present(lock.find(tmp_path)).state == "dead"
    with lock.hold(tmp_path) as held:
        held.check()
        assert held.holder.pid == os.getpid()


@pytest.mark.parametrize("content", ["", "[]", '{"host": 3}', "\x00"])
def test_a_damaged_file_holds_nobody_off(content: str, tmp_path: Path) -> None:
    """A runner may be killed before it has written its name."""
    (tmp_path / lock.NAME).write_text(content)
    assert present(lock.find(tmp_path)).state == "dead"
    with lock.hold(tmp_path) as held:
        held.check()


@pytest.mark.parametrize("says", [None, *sorted(lock.NO_LOCKS)])
def test_where_nobody_knows_whether_a_runner_lives_its_folder_is_taken_only_if_asked(
    says: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that died may keep its lock on a server, or the file system has no locks: then the file is the lock.

    Should the first runner live after all, it notices, and leaves the new lock.
    """
    if says is not None:
        refusing(monkeypatch, fcntl, "flock", says)
    (tmp_path / "run.json").write_text("{}")
    with lock.hold(tmp_path) as first:
        if says is None:
            name(tmp_path, host="elsewhere", token=first.holder.token)
        else:
            assert present(lock.find(tmp_path)).state == "unknown"
        first.check()
        refused(tmp_path, r"in use by process \d+ on .*resume --take-over")
        with lock.hold(tmp_path, take_over=True) as second:
            with pytest.raises(IncompleteError, match=f"taken over by process {os.getpid()} on {HERE}"):
                first.check()
            first.release()
            second.check()
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(("owner", "function", "code"), [(fcntl, "flock", errno.EIO), (os, "pwrite", errno.ENOSPC)])
def test_a_disk_that_refuses_leaves_no_lock(
    owner: Any, function: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, owner, function, code)
    with pytest.raises(OSError, match=os.strerror(code)), lock.hold(tmp_path):
        pass
    assert function == "flock" or not list(tmp_path.iterdir())


def test_of_many_that_find_a_dead_runner_one_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PAUSE_S", 0.001)

    def took(folder: Path, gate: threading.Barrier, lost: threading.Semaphore) -> bool:
        gate.wait()
        try:
            with lock.hold(folder) as held:
                held.check()
                for _ in range(5):  # until all others were refused
                    lost.acquire()
        except UsageError:
            lost.release()
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        for round_ in range(30):
            folder = tmp_path / str(round_)
            folder.mkdir()
            name(folder)
            gate, lost = threading.Barrier(6), threading.Semaphore(0)
            tries = [threads.submit(took, folder, gate, lost) for _ in range(6)]
            assert sum(each.result() for each in tries) == 1
            assert not list(folder.iterdir())


def test_who_only_looks_keeps_no_runner_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`watch` holds a lock for a moment, beside others of its kind; a runner tries again."""
    name(tmp_path)
    with (tmp_path / lock.NAME).open("rb") as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        assert present(lock.find(tmp_path)).state == "dead"
        monkeypatch.setattr(time, "sleep", lambda _: looks.close())
        with lock.hold(tmp_path) as held:
            held.check()
