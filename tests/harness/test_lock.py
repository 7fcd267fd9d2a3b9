"""One runner per folder: the lease, who may take it, and what happens to a runner that lost it."""

from __future__ import annotations

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

from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError
from modbench.harness.process import processes
from modbench.harness.results import lock


def write(folder: Path, *, silent_s: float = 0.0, **changes: Any) -> None:
    """Leave the lease of a runner, as it would look some time after its last heartbeat."""
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "began": processes.began(os.getpid()),
        "kernel": processes.kernel(),
        "token": "theirs",
        "since": "2026-01-01T00:00:00+00:00",
    }
    file = folder / lock.NAME
    file.write_text(json.dumps(mine | changes))
    at = time.time() - silent_s
    os.utime(file, (at, at))


def test_a_second_runner_is_refused_by_name(tmp_path: Path) -> None:
    with lock.hold(tmp_path):
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on {socket.gethostname()}, since 20"):
            lock._take(tmp_path, steal=True)
        assert [file.name for file in tmp_path.iterdir()] == [lock.NAME]
    assert not list(tmp_path.iterdir())


def test_a_killed_runner_leaves_a_lease_that_the_next_takes(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from modbench.harness.results import lock\n"
        "with lock.hold(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "held\n"
        found = lock.lease(tmp_path)
        assert found is not None
        assert (found.holder.pid, found.state) == (runner.pid, "alive")
        with pytest.raises(UsageError, match=f"process {runner.pid} on"), lock.hold(tmp_path, steal=True):
            pass
        runner.kill()
    with lock.hold(tmp_path) as held:
        held.check()
        assert held.holder.pid == os.getpid()


@pytest.mark.parametrize(
    ("changes", "silent_s", "state"),
    [
        ({}, 10_000, "alive"),  # stopped for hours (a laptop that slept), but there
        ({"began": "1"}, 0, "dead"),  # another process has its number now
        ({"pid": 2**22 + 1}, 0, "dead"),
        ({"host": "elsewhere"}, 0, "alive"),
        ({"host": "elsewhere"}, 10_000, "silent"),
        ({"host": "elsewhere"}, -10_000, "silent"),  # copied with its time, or the clock was set back
        ({"kernel": "an earlier boot"}, 0, "alive"),
        ({"kernel": "an earlier boot"}, 10_000, "silent"),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_who_is_alive(changes: dict[str, Any], silent_s: float, state: str, tmp_path: Path) -> None:
    write(tmp_path, silent_s=silent_s, **changes)
    found = lock.lease(tmp_path)
    assert found is not None
    assert found.state == state
    for steal in (False, True):
        write(tmp_path, silent_s=silent_s, **changes)
        if state == "dead" or (state == "silent" and steal):
            with lock.hold(tmp_path, steal=steal) as held:
                held.check()
        else:
            words = "modbench resume --steal" if state == "silent" else "Wait for it, or end it first"
            with pytest.raises(UsageError, match=words), lock.hold(tmp_path, steal=steal):
                pass


def test_a_runner_that_lost_its_folder_stops_and_leaves_the_new_lease(tmp_path: Path) -> None:
    with lock.hold(tmp_path) as held:
        held.check()
        write(tmp_path, host="elsewhere", pid=7)
        with pytest.raises(IncompleteError, match="process 7 on elsewhere"):
            held.check()
    found = lock.lease(tmp_path)
    assert found is not None
    assert found.holder.host == "elsewhere"


def test_a_folder_that_another_one_replaced_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with lock.hold(run) as held:
        run.rename(tmp_path / "aside")
        run.mkdir()
        with pytest.raises(ModbenchError, match="is gone"):
            held.check()


def test_of_many_that_find_a_dead_runner_one_takes_over(tmp_path: Path) -> None:
    for round_ in range(30):
        folder = tmp_path / str(round_)
        folder.mkdir()
        write(folder, began="1")
        won: list[lock.Holder] = []
        refused: list[UsageError] = []
        gate = threading.Barrier(6)

        def take(folder: Path = folder, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                won.append(lock._take(folder, steal=False))  # noqa: B023  # joined before the next round
            except UsageError as error:
                refused.append(error)  # noqa: B023  # as above

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = lock.lease(folder)
        assert found is not None
        # Whoever believes to hold the folder checks before each unit: only one passes.
        assert sum(holder.token == found.holder.token for holder in won) == 1
        assert [file.name for file in folder.iterdir()] == [lock.NAME]


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with lock.hold(tmp_path):
        file = tmp_path / lock.NAME
        os.utime(file, (1, 1))
        while file.stat().st_mtime == 1:
            time.sleep(0.01)


@pytest.mark.parametrize("content", ["", "[]", '{"host": 3}', "\x00"])
def test_a_damaged_lease_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / lock.NAME).write_text(content)
    with pytest.raises(UsageError, match=r"lock\.json: damaged"), lock.hold(tmp_path):
        pass


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with lock.hold(tmp_path) as held:
        held.check()
        with pytest.raises(UsageError, match="in use by"):
            lock._take(tmp_path, steal=False)
    assert not list(tmp_path.iterdir())


def test_a_link_that_was_made_although_it_failed_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system whose answer was lost says of the second attempt that the file exists."""
    real = os.link

    def twice(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", twice)
    with lock.hold(tmp_path) as held:
        held.check()


def test_a_full_disk_leaves_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), lock.hold(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lease_that_is_moved_for_a_moment_is_still_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.json").write_text("{}")
    with lock.hold(tmp_path) as held:
        file = tmp_path / lock.NAME
        file.rename(tmp_path / "aside")
        monkeypatch.setattr(time, "sleep", lambda _: (tmp_path / "aside").rename(file))
        held.check()
        file.unlink()
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with pytest.raises(IncompleteError, match="was removed"):
            held.check()
