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
from pathlib import Path
from typing import Any

import pytest
from present import present

from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError
from modbench.harness.results import lock

HERE = socket.gethostname()
HOLDS = (
    "import sys, pathlib; from modbench.harness.results import lock\n"
    "with lock.hold(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def name(folder: Path, **changes: Any) -> None:
    """Let the lock's file name another runner; who has locked it does not change."""
    file = folder / lock.NAME
    file.write_text(json.dumps({"host": HERE, "pid": 7, "token": "theirs", "since": "2026-01-01"} | changes))


def state(folder: Path) -> str | None:
    found = lock.find(folder)
    return None if found is None else found.state


def test_a_second_runner_is_refused_by_name(tmp_path: Path) -> None:
    """Also one that would steal: on this host the lock shows that the first lives."""
    with lock.hold(tmp_path):
        for take_over in (False, True):
            with (
                pytest.raises(UsageError, match=f"in use by process {os.getpid()} on {HERE}, since 20.* end it first"),
                lock.hold(tmp_path, take_over=take_over),
            ):
                pass
        assert [file.name for file in tmp_path.iterdir()] == [lock.NAME]
    assert not list(tmp_path.iterdir())


def test_a_killed_runner_leaves_a_folder_that_the_next_takes(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert present(runner.stdout).readline() == "held\n"
        found = present(lock.find(tmp_path))
        assert (found.holder.pid, found.state) == (runner.pid, "alive")
        with pytest.raises(UsageError, match=f"process {runner.pid} on"), lock.hold(tmp_path):
            pass
        runner.kill()
    assert state(tmp_path) == "dead"
    with lock.hold(tmp_path) as held:
        held.check()
        assert held.holder.pid == os.getpid()


@pytest.mark.parametrize("content", ["", "[]", '{"host": 3}', "\x00"])
def test_a_damaged_file_holds_nobody_off(content: str, tmp_path: Path) -> None:
    """A runner may be killed before it has written its name."""
    (tmp_path / lock.NAME).write_text(content)
    assert state(tmp_path) == "dead"
    with lock.hold(tmp_path) as held:
        held.check()


def test_from_a_runner_elsewhere_a_folder_is_taken_only_if_asked(tmp_path: Path) -> None:
    """A node that died may keep its lock on a server. Should it live after all, it notices, and leaves the new lock."""
    (tmp_path / "run.json").write_text("{}")
    with lock.hold(tmp_path) as first:
        name(tmp_path, host="elsewhere", token=first.holder.token)
        first.check()
        with pytest.raises(UsageError, match=r"process 7 on elsewhere.*resume --take-over"), lock.hold(tmp_path):
            pass
        with lock.hold(tmp_path, take_over=True) as second:
            assert not first.mine
            with pytest.raises(IncompleteError, match=f"taken over by process {os.getpid()} on {HERE}"):
                first.check()
            first.release()
            second.check()
            assert state(tmp_path) == "alive"


@pytest.mark.parametrize("says", sorted(lock.NO_LOCKS))
def test_on_a_file_system_without_locks_the_file_is_the_lock(
    says: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(says, os.strerror(says))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / "run.json").write_text("{}")
    with lock.hold(tmp_path) as first:
        first.check()
        assert state(tmp_path) == "unknown"
        with pytest.raises(UsageError, match=r"in use by process \d+ .*resume --take-over"), lock.hold(tmp_path):
            pass
        with lock.hold(tmp_path, take_over=True) as second:
            second.check()
            with pytest.raises(IncompleteError, match="taken over"):
                first.check()
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_another_error_of_the_file_system_is_no_lack_of_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"), lock.hold(tmp_path):
        pass


def test_a_folder_that_another_one_replaced_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with lock.hold(run) as held:
        (run / lock.NAME).rename(tmp_path / "aside")
        with pytest.raises(IncompleteError, match="was removed"):
            held.check()
        run.rename(tmp_path / "away")
        run.mkdir()
        with pytest.raises(ModbenchError, match="is gone"):
            held.check()


def test_of_many_that_find_a_dead_runner_one_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PAUSE_S", 0.001)
    for round_ in range(30):
        folder = tmp_path / str(round_)
        folder.mkdir()
        name(folder)
        ended, refused = threading.Event(), list[UsageError]()
        won: list[lock.Holder] = []
        gate = threading.Barrier(6)

        def take(folder: Path = folder, gate: threading.Barrier = gate, ended: threading.Event = ended) -> None:
            gate.wait()
            try:
                with lock.hold(folder) as held:
                    held.check()
                    won.append(held.holder)  # noqa: B023  # joined before the next round
                    ended.wait()
            except UsageError as error:
                refused.append(error)  # noqa: B023  # as above
            if len(refused) == 5:  # noqa: B023  # as above
                ended.set()

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(refused)) == (1, 5)
        assert not list(folder.iterdir())


def test_who_only_looks_keeps_no_runner_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`watch` holds a lock for a moment, beside others of its kind; a runner tries again."""
    name(tmp_path)
    with (tmp_path / lock.NAME).open("rb") as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        assert state(tmp_path) == "dead"
        monkeypatch.setattr(time, "sleep", lambda _: looks.close())
        with lock.hold(tmp_path) as held:
            held.check()


def test_a_full_disk_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"), lock.hold(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
