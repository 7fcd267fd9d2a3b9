"""Nothing outlives a run: workers, hanging ones too, and what they started end with their parent, and at their limit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_workers import folder_of, planned

from modbench.harness.execution import log_supervisor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

# Hangs in C with the interpreter's lock held, and starts two processes, one of them in a session of its own.
HANGING = """
import ctypes, os, signal, subprocess, sys
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
def start(**options):
    process = subprocess.Popen([sys.executable, "-S", "-c", DEAF], stdout=subprocess.PIPE, **options)
    process.stdout.readline()
    return process.pid
def hangs(config):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pids = os.getpid(), start(), start(start_new_session=True)
    with open("pids.part", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.rename("pids.part", "pids")
    ctypes.PyDLL(None).sleep(600)
def stubborn(config):
    signal.setitimer(signal.ITIMER_REAL, 0)
    hangs(config)
"""
# What its workers do: they call the model without loading torch.
WORK = """
import own
from modbench.harness.execution import worker
def run_unit(unit, folder):
    getattr(own, unit.comparison.arms[-1].model.partition(":")[2])(None)
def work(*given):
    worker.run_unit = run_unit
    worker.work(*given)
"""
# A run in a process of its own that can be killed; it starts one unit and waits.
PARENT = """
import os, signal, sys
from pathlib import Path
import without_torch
from modbench.harness.execution import log_supervisor, unit
from modbench.harness.execution.launch import local
from modbench.harness.results.run_folder import RunFolder
folder, name, cold, limit_s, supervisor_s, stops = sys.argv[1:]
local.PRELOAD, local.work = [], without_torch.work
log_supervisor.ALARM_S, log_supervisor.SUPERVISOR_S = 0.5, float(supervisor_s)
launcher = local.LocalLauncher(cold=cold == "cold", threads=1)
handle = launcher.start(unit.planned(Path(folder), name), RunFolder(Path(folder)), float(limit_s))
print(handle.process.pid, launcher._supervisor._process.pid, flush=True)
if stops == "stops":
    os.kill(os.getpid(), signal.SIGSTOP)
while not launcher.wait([handle], 1):
    pass
launcher.end(handle)
print("ended", handle.exitcode, flush=True)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def sleeps(pids: tuple[int, ...]) -> list[str]:
    """How often processes went to sleep; that others preempted them is no doing of theirs."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return [line for line in lines if line.startswith("voluntary_ctxt_switches")]


def wait_until_gone(pids: list[int]) -> None:
    """Wait for processes to end; pytest's own limit ends a test that waits in vain."""
    while any(alive(pid) for pid in pids):
        time.sleep(0.05)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name, text in (("own", HANGING), ("without_torch", WORK), ("parent", PARENT)):
        (tmp_path / f"{name}.py").write_text(text)
    yield tmp_path
    if (tmp_path / "pids").exists():  # a failed test must leave nothing behind either
        for pid in pids_of(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pids_of(here: Path) -> list[int]:
    return [int(pid) for pid in (here / "pids").read_text().split()]


def started(here: Path, model: str, cold: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent whose unit hangs without a limit; the process ids of the worker, what it started, and the log supervisor."""
    parent, _, supervisor = parent_of(here, model, cold, 1e6)
    while not (here / "pids").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    pids = [*pids_of(here), supervisor]
    assert all(alive(pid) for pid in pids)
    return parent, pids


def parent_of(
    here: Path, model: str, cold: str, limit_s: float, supervisor_s: float = 4.0, stops: str = "goes on"
) -> tuple[subprocess.Popen[str], int, int]:
    """A parent whose unit hangs; the process ids of its worker and of its log supervisor."""
    made = planned(model)
    folder = folder_of(made, here)
    given = (folder.path, made.units[-1].name, cold, limit_s, supervisor_s, stops)
    parent = subprocess.Popen(
        [sys.executable, "parent.py", *map(str, given)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    worker, supervisor = map(int, parent.stdout.readline().split())
    return parent, worker, supervisor


def ended_at_limit(here: Path, model: str, *, stopped: bool) -> str:
    """What a parent says of a unit that hung until its limit, when nothing of it is left.

    Where the limit comes before the model is reached, as on a busy machine, the unit starts again with a longer one.

    Args:
        here: folder with the files.
        model: what hangs.
        stopped: whether the parent is stopped meanwhile, so that it cannot be what ends the unit.
    """
    limit_s = 2.0
    while True:
        if stopped:
            # A worker that has an alarm is left to it; the log supervisor ends one that switched it off.
            supervisor_s = 1e6 if model == "hangs" else 4.0
            parent, worker, supervisor = parent_of(here, model, "cold", limit_s, supervisor_s, "stops")
            os.waitpid(parent.pid, os.WUNTRACED)
            wait_until_gone([worker])
            if model == "stubborn" and (here / "pids").exists():
                wait_until_gone(pids_of(here))
            os.kill(parent.pid, signal.SIGCONT)
        else:
            parent, worker, supervisor = parent_of(here, model, "cold", limit_s)
        said = parent.communicate()[0].strip()
        wait_until_gone([worker, supervisor])
        if (here / "pids").exists():
            wait_until_gone(pids_of(here))
            return said
        shutil.rmtree(here / "run")
        limit_s *= 3


def test_a_hanging_worker_ends_with_its_parent(here: Path) -> None:
    parent, pids = started(here, "hangs", "forked")
    parent.kill()
    parent.communicate()
    wait_until_gone(pids)


def test_nothing_wakes_up_while_a_cold_worker_works_and_it_ends_with_its_parent(here: Path) -> None:
    """The log supervisor sleeps, the worker has no thread besides its own, and its alarm has not ticked.

    A terminal's interrupt would reach the parent only: all others are in other sessions.
    """
    parent, pids = started(here, "hangs", "cold")
    worker, *_, supervisor = pids
    assert [os.getsid(pid) == os.getsid(parent.pid) for pid in pids] == [False] * 4
    assert os.getpgid(worker) == worker
    counts = [sleeps((worker, supervisor))]
    while len(counts) < 3 or counts[-1] != counts[-3]:  # on a busy machine they may still be about to fall asleep
        time.sleep(0.5)
        counts.append(sleeps((worker, supervisor)))
    assert [entry.name for entry in Path(f"/proc/{worker}/task").iterdir()] == [str(worker)]
    parent.kill()
    parent.communicate()
    wait_until_gone(pids)


def test_a_worker_ends_with_its_parent_even_without_the_supervisor(here: Path) -> None:
    parent, pids = started(here, "hangs", "cold")
    worker, *_, supervisor = pids
    os.kill(supervisor, signal.SIGKILL)
    parent.kill()
    parent.communicate()
    wait_until_gone([worker])


@pytest.mark.parametrize("model", ["hangs", "stubborn"])
def test_a_worker_ends_at_its_limit_while_its_parent_is_stopped(model: str, here: Path) -> None:
    """By its own alarm, or if the model switched that off, by the log supervisor."""
    by = signal.SIGALRM if model == "hangs" else signal.SIGKILL
    assert ended_at_limit(here, model, stopped=True) == f"ended {-by}"


def test_what_a_worker_started_ends_with_it(here: Path) -> None:
    """The parent ends a unit at its limit: what ignores SIGTERM, or moved to another session, ends too."""
    # its alarm may be first
    assert ended_at_limit(here, "hangs", stopped=False) in {f"ended {-signal.SIGKILL}", f"ended {-signal.SIGALRM}"}


def test_a_run_goes_on_when_its_supervisor_was_killed(here: Path) -> None:
    """What it watched can still be ended, and the next worker has a new one."""
    kept = log_supervisor.LogSupervisor()
    for _ in range(2):
        sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        reading, writing = os.pipe()
        log = os.open(here / "log", os.O_WRONLY | os.O_CREAT)
        kept.watch("unit", sleeping.pid, "MARK=1", 600, reading, log)
        for file in (reading, writing, log):
            os.close(file)
        assert kept._process is not None
        os.kill(kept._process.pid, signal.SIGKILL)
        kept.end("unit", sleeping.pid, escaped=False)
        assert sleeping.wait() == -signal.SIGKILL


def watched(
    kept: log_supervisor.LogSupervisor, here: Path, limit_s: float = 600
) -> tuple[subprocess.Popen[bytes], int]:
    """A process that the log supervisor watches as `unit`, and the other end of the pipe that it would print to."""
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    reading, writing = os.pipe()
    log = os.open(here / f"log{sleeping.pid}", os.O_WRONLY | os.O_CREAT)
    try:
        kept.watch("unit", sleeping.pid, f"MARK={sleeping.pid}", limit_s, reading, log)
    finally:
        os.close(reading)
        os.close(log)
    return sleeping, writing


def test_a_limit_of_years_leaves_the_supervisor_alive(here: Path) -> None:
    """The system cannot wait for so long at a time."""
    kept = log_supervisor.LogSupervisor()
    sleeping, writing = watched(kept, here, limit_s=1e8)
    assert kept._process is not None
    with contextlib.suppress(subprocess.TimeoutExpired):
        kept._process.wait(0.5)
    os.write(writing, b"printed")
    os.close(writing)
    kept.end("unit", sleeping.pid, escaped=False)
    assert sleeping.wait() == -signal.SIGKILL
    assert (here / f"log{sleeping.pid}").read_bytes() == b"printed"


def test_an_answer_that_an_interrupt_left_behind_is_not_the_next_ones(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log supervisor ends with what it watched, and the next worker has a new one."""
    kept = log_supervisor.LogSupervisor()
    first, writing = watched(kept, here)
    os.close(writing)
    real, process = kept._socket, kept._process
    assert real is not None
    send = real.sendmsg

    class Interrupted:
        sendmsg = send

        def recv(self, _size: int) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr(kept, "_socket", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        kept.end("other", 0, escaped=False)
    assert first.wait() == -signal.SIGKILL
    second, writing = watched(kept, here)
    os.close(writing)
    assert kept._process not in (None, process)
    kept.end("unit", second.pid, escaped=False)
    assert second.wait() == -signal.SIGKILL


def test_a_unit_that_starts_again_ends_the_worker_that_had_its_name(here: Path) -> None:
    kept = log_supervisor.LogSupervisor()
    (first, one), (second, other) = watched(kept, here), watched(kept, here)
    os.close(one)
    os.close(other)
    assert first.wait() == -signal.SIGKILL
    assert second.poll() is None
    kept.end("unit", second.pid, escaped=False)
    assert second.wait() == -signal.SIGKILL


def test_an_interrupt_that_was_for_the_parent_is_forgotten() -> None:
    """Ctrl-C reaches the whole group, and a worker that starts is in it for a moment: it must not die with a traceback.

    In a process without other threads, as a worker is then: each thread has a mask of its own.
    """
    hears = (
        "import os, signal\n"
        "from modbench.harness.process import parent_death\n"
        "with parent_death.interrupts_wait():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    parent_death.hear_interrupts()\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('heard')\n"
    )
    ended = subprocess.run([sys.executable, "-c", hears], capture_output=True, text=True, check=True)
    assert ended.stdout == "heard\n"


def test_the_first_process_does_not_hear_an_interrupt_that_waits() -> None:
    """Python starts its resource tracker before a process that is the first, and unblocks SIGINT when it has."""
    starts = (
        "import signal\n"
        "from multiprocessing import resource_tracker\n"
        "from modbench.harness.process import parent_death\n"
        "with parent_death.interrupts_wait():\n"
        "    resource_tracker.ensure_running()\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", starts], capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
