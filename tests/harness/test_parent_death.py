"""Nothing outlives a run: a child, a hanging one too, and what it started end with the parent, and at their limit."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from present import present
from small_runs import folder_of, weighed

from modbench.harness.execution.command import Command
from modbench.harness.machine.process import child

# The process of a parent, and the ids of its job's worker and minder.
Parent = tuple[subprocess.Popen[str], int, int]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

# Hangs in C with the interpreter's lock held, and starts a process.
HANGING = """
import ctypes, os, signal, subprocess, sys
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
def start():
    process = subprocess.Popen([sys.executable, "-S", "-c", DEAF], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process.pid
def hangs(config):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pids = os.getpid(), start()
    with open("pids.part", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.rename("pids.part", "pids")
    ctypes.PyDLL(None).sleep(600)
def stubborn(config):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    hangs(config)
"""
# What its workers do: they call the model without loading torch.
WORK = """
import own
from modbench.harness.execution import worker
def run_job(job, folder):
    getattr(own, job.comparison.variants[-1].model.partition(":")[2])(None)
def work(*given):
    worker.run_job = run_job
    worker.work(*given)
"""
# A run in a process of its own that can be killed; it starts one job and waits.
PARENT = """
import os, signal, sys
from pathlib import Path
import without_torch
from modbench.harness.execution.launchers import local
from modbench.harness.machine.process import child
from modbench.harness.results.run_folder import RunFolder, planned_job
folder, name, cold, limit_s, stops = sys.argv[1:]
local.PRELOAD, local.work = [], without_torch.work
child.LATE_S = 0.5
launcher = local.LocalLauncher(cold=cold == "cold", threads=1)
handle = launcher.start(planned_job(Path(folder), name), RunFolder(Path(folder)), float(limit_s))
print(handle.child.pid, handle.child.minder.pid, flush=True)
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
    for pid in pids_of(tmp_path):  # a failed test must leave nothing behind either
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pids_of(here: Path) -> list[int]:
    """The process ids of a job and of what it started; none before it has."""
    return [int(pid) for file in here.glob("pids") for pid in file.read_text().split()]


def parent_of(here: Path, model: str, cold: str = "cold", limit_s: float = 1e6, stops: str = "") -> Parent:
    """A parent whose job hangs, and the process ids of its worker and of the minder."""
    made = weighed(model)
    given = (folder_of(made, here).path, made.jobs[-1].name, cold, limit_s, stops)
    words = [sys.executable, "parent.py", *map(str, given)]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    worker, minder = map(int, present(parent.stdout).readline().split())
    return parent, worker, minder


def hanging(here: Path, cold: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent whose job hangs in the model; the process ids of the job, what it started, and its minder."""
    parent, _, minder = parent_of(here, "hangs", cold)
    while not (here / "pids").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    pids = [*pids_of(here), minder]
    assert all(alive(pid) for pid in pids)
    return parent, pids


def killed(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.communicate()


def test_a_hanging_job_ends_with_its_parent_and_so_does_what_it_started(here: Path) -> None:
    parent, pids = hanging(here, "forked")
    killed(parent)
    wait_until_gone(pids)


def test_nothing_wakes_up_while_a_cold_job_works_and_it_ends_with_its_parent(here: Path) -> None:
    """The minder sleeps, and the job has no thread besides its own.

    A terminal's interrupt would reach the parent only: all others are in other sessions.
    """
    parent, pids = hanging(here, "cold")
    worker, _, minder = pids
    assert [os.getsid(pid) == os.getsid(parent.pid) for pid in pids] == [False] * 3
    assert os.getpgid(worker) == worker
    counts = [sleeps((worker, minder))]
    while len(counts) < 3 or counts[-1] != counts[-3]:  # on a busy machine they may still be about to fall asleep
        time.sleep(0.5)
        counts.append(sleeps((worker, minder)))
    assert [entry.name for entry in Path(f"/proc/{worker}/task").iterdir()] == [str(worker)]
    killed(parent)
    wait_until_gone(pids)


def test_a_job_ends_with_its_parent_even_without_its_minder(here: Path) -> None:
    """What it started does not: the documentation says so."""
    parent, (worker, left, minder) = hanging(here, "cold")
    os.kill(minder, signal.SIGKILL)
    killed(parent)
    wait_until_gone([worker])
    os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize(
    ("model", "stops", "by"),
    [
        ("hangs", "stops", {signal.SIGALRM}),
        ("stubborn", "stops", {signal.SIGKILL}),
        ("hangs", "", {signal.SIGKILL, signal.SIGALRM}),  # on a busy machine the minder may be first
    ],
)
def test_a_job_and_what_it_started_end_at_its_limit(
    model: str, stops: str, by: set[signal.Signals], here: Path
) -> None:
    """By its parent; if that is stopped, by its minder: with a signal that says why, or with one that cannot be ignored.

    Where the limit comes before the model is reached, as on a busy machine, the job starts again with a longer one.
    """
    limit_s, said = 2.0, ""
    while not (here / "pids").exists():
        shutil.rmtree(here / "run", ignore_errors=True)
        parent, worker, minder = parent_of(here, model, limit_s=limit_s, stops=stops)
        if stops:
            os.waitpid(parent.pid, os.WUNTRACED)
            wait_until_gone([worker, *pids_of(here)])
            os.kill(parent.pid, signal.SIGCONT)
        said = parent.communicate()[0].strip()
        wait_until_gone([worker, minder])
        limit_s *= 3
    wait_until_gone(pids_of(here))
    assert said in {f"ended {-number}" for number in by}


def command(log: Path, code: str, limit_s: float = 600.0) -> child.Child:
    """A child that runs some Python."""

    def make(prints: Connection) -> Command:
        words = child.tied([sys.executable, "-S", "-c", code])
        return Command(subprocess.Popen(words, stdout=prints.fileno(), start_new_session=True))

    return child.start(make, log, limit_s)


def test_a_child_that_prints_wakes_no_parent(tmp_path: Path) -> None:
    """Beside a timed job the parent must not work. It sleeps until the end, however much is printed, here 100 MB.

    A limit of years is longer than the system can wait at a time.
    """
    began = command(tmp_path / "log", "for _ in range(1000): print('x' * 100_000)", limit_s=1e8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    began.join()
    woken = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    began.end()
    began.end()  # a second end changes nothing
    assert began.exitcode == 0
    assert woken < 100  # a parent that copies it wakes some 400 times
    assert child.HEAD + child.TAIL < (tmp_path / "log").stat().st_size < child.HEAD + child.TAIL + 100


INTERRUPTED = """
import signal, subprocess
from pathlib import Path
from modbench.harness.execution.command import Command
from modbench.harness.machine.process import child
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
made = []
def make(prints):
    made.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
    signal.raise_signal(signal.SIGINT)
    return Command(made[0])
try:
    child.start(make, Path("log"), 600)
except KeyboardInterrupt:
    print(made[0].poll())
"""


def test_an_interrupt_that_comes_while_a_child_is_started_ends_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True
    )
    assert ended.stdout == f"{-signal.SIGTERM}\n"
