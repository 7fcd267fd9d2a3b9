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
from modbench.harness.execution.command import started as started_command
from modbench.harness.machine.process import child

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
    if (tmp_path / "pids").exists():  # a failed test must leave nothing behind either
        for pid in pids_of(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pids_of(here: Path) -> list[int]:
    return [int(pid) for pid in (here / "pids").read_text().split()]


def started(here: Path, model: str, cold: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent whose job hangs without a limit; the process ids of the job, what it started, and its minder."""
    parent, _, minder = parent_of(here, model, cold, 1e6)
    while not (here / "pids").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    pids = [*pids_of(here), minder]
    assert all(alive(pid) for pid in pids)
    return parent, pids


def parent_of(
    here: Path, model: str, cold: str, limit_s: float, stops: str = "goes on"
) -> tuple[subprocess.Popen[str], int, int]:
    """A parent whose job hangs; the process ids of its unit and of the minder."""
    made = weighed(model)
    folder = folder_of(made, here)
    given = (folder.path, made.jobs[-1].name, cold, limit_s, stops)
    parent = subprocess.Popen(
        [sys.executable, "parent.py", *map(str, given)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    worker, minder = map(int, present(parent.stdout).readline().split())
    return parent, worker, minder


def ended_at_limit(here: Path, model: str, *, stopped: bool) -> str:
    """What a parent says of a job that hung until its limit, when nothing of it is left.

    Where the limit comes before the model is reached, as on a busy machine, the job starts again with a longer one.

    Args:
        here: folder with the files.
        model: what hangs.
        stopped: whether the parent is stopped meanwhile, so that it cannot be what ends the job.
    """
    limit_s = 2.0
    while True:
        parent, worker, minder = parent_of(here, model, "cold", limit_s, "stops" if stopped else "goes on")
        if stopped:
            os.waitpid(parent.pid, os.WUNTRACED)
            wait_until_gone([worker, *(pids_of(here) if (here / "pids").exists() else [])])
            os.kill(parent.pid, signal.SIGCONT)
        said = parent.communicate()[0].strip()
        wait_until_gone([worker, minder])
        if (here / "pids").exists():
            wait_until_gone(pids_of(here))
            return said
        shutil.rmtree(here / "run")
        limit_s *= 3


def test_a_hanging_job_ends_with_its_parent_and_so_does_what_it_started(here: Path) -> None:
    parent, pids = started(here, "hangs", "forked")
    parent.kill()
    parent.communicate()
    wait_until_gone(pids)


def test_nothing_wakes_up_while_a_cold_job_works_and_it_ends_with_its_parent(here: Path) -> None:
    """The minder sleeps, and the job has no thread besides its own.

    A terminal's interrupt would reach the parent only: all others are in other sessions.
    """
    parent, pids = started(here, "hangs", "cold")
    worker, _, minder = pids
    assert [os.getsid(pid) == os.getsid(parent.pid) for pid in pids] == [False] * 3
    assert os.getpgid(worker) == worker
    counts = [sleeps((worker, minder))]
    while len(counts) < 3 or counts[-1] != counts[-3]:  # on a busy machine they may still be about to fall asleep
        time.sleep(0.5)
        counts.append(sleeps((worker, minder)))
    assert [entry.name for entry in Path(f"/proc/{worker}/task").iterdir()] == [str(worker)]
    parent.kill()
    parent.communicate()
    wait_until_gone(pids)


def test_a_job_ends_with_its_parent_even_without_its_minder(here: Path) -> None:
    """What it started does not: the documentation says so."""
    parent, (worker, left, minder) = started(here, "hangs", "cold")
    os.kill(minder, signal.SIGKILL)
    parent.kill()
    parent.communicate()
    wait_until_gone([worker])
    os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize(("model", "by"), [("hangs", signal.SIGALRM), ("stubborn", signal.SIGKILL)])
def test_a_job_ends_at_its_limit_while_its_parent_is_stopped(model: str, by: signal.Signals, here: Path) -> None:
    """By its minder: with a signal that tells the parent of the limit, or if the model ignores that, with the next."""
    assert ended_at_limit(here, model, stopped=True) == f"ended {-by}"


def test_what_a_job_started_ends_with_it(here: Path) -> None:
    """The parent ends a job at its limit: what ignores SIGTERM ends too."""
    # on a busy machine its minder may be first
    assert ended_at_limit(here, "hangs", stopped=False) in {f"ended {-signal.SIGKILL}", f"ended {-signal.SIGALRM}"}


def command(log: Path, code: str, limit_s: float = 600.0) -> child.Child:
    """A child that runs some Python."""

    def make(prints: Connection) -> Command:
        words = child.tied([sys.executable, "-S", "-c", code])
        return Command(subprocess.Popen(words, stdout=prints.fileno(), start_new_session=True))

    return child.start(make, log, limit_s)


def test_a_parent_ends_a_child_whose_minder_was_killed(tmp_path: Path) -> None:
    """With what it started, although it ended well before that."""
    sleeps = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    )
    began = command(tmp_path / "log", f"{sleeps}; sys.stdout.flush(); sys.stdin.read()")
    while not (said := (tmp_path / "log").read_text()).endswith("\n"):
        time.sleep(0.01)
    began.minder.kill()
    began.minder.wait()
    assert alive(int(said))
    began.end()
    wait_until_gone([int(said)])


def test_a_log_is_complete_and_a_second_end_changes_nothing(tmp_path: Path) -> None:
    """A limit of years is longer than the system can wait at a time."""
    began = command(tmp_path / "log", "print('x' * 100_000, end='')", limit_s=1e8)
    began.join()
    began.end()
    began.end()
    assert (began.exitcode, (tmp_path / "log").read_text()) == (0, "x" * 100_000)


def test_a_child_that_prints_wakes_no_parent(tmp_path: Path) -> None:
    """Beside a timed job the parent must not work. It sleeps until the end, however much is printed, here 100 MB."""
    began = command(tmp_path / "log", "for _ in range(1000): print('x' * 100_000)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    began.join()
    woken = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    began.end()
    assert woken < 100  # a parent that copies it wakes some 400 times
    assert child.HEAD + child.TAIL < (tmp_path / "log").stat().st_size < child.HEAD + child.TAIL + 100


def test_who_holds_the_pipe_in_another_session_delays_no_end_for_long(tmp_path: Path) -> None:
    """It is not ended: the documentation says so. The log has what was printed before."""
    code = "import subprocess, sys; left = [sys.executable, '-c', 'import time; time.sleep(600)']; "
    code += "print(subprocess.Popen(left, start_new_session=True).pid)"
    began = command(tmp_path / "log", code)
    began.join()
    began.end()
    left = int((tmp_path / "log").read_text())
    assert alive(left)
    os.kill(left, signal.SIGKILL)


def test_a_command_that_does_not_exist_is_named_in_the_log(tmp_path: Path) -> None:
    with started_command(["no-such-program"], os.environ, tmp_path / "log", 600.0) as began:
        began.join()
    assert "no-such-program: No such file" in (tmp_path / "log").read_text()
    assert began.exitcode == 1


def test_an_interrupt_that_was_for_the_parent_is_forgotten() -> None:
    """Ctrl-C reaches the whole group, and a child that starts is in it for a moment: it must not die with a traceback."""
    hears = (
        "import os, signal\n"
        "from modbench.harness.machine.process import child\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "child.tie(os.getppid())\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('heard')\n"
    )
    ended = subprocess.run([sys.executable, "-c", hears], capture_output=True, text=True, check=True)
    assert ended.stdout == "heard\n"


def test_the_first_child_does_not_hear_an_interrupt_that_waits(tmp_path: Path) -> None:
    """Python starts its resource tracker before a process that is the first, and unblocks SIGINT when it has."""
    starts = (
        "import signal, sys\n"
        "from multiprocessing import resource_tracker\n"
        "from pathlib import Path\n"
        "from modbench.harness.machine.process import child\n"
        "def make(prints):\n"
        "    resource_tracker.ensure_running()\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "    sys.exit()\n"
        "child.start(make, Path(sys.argv[1]), 600)\n"
    )
    words = [sys.executable, "-c", starts, str(tmp_path / "log")]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"


def test_an_interrupt_that_comes_while_a_child_is_started_ends_it(tmp_path: Path) -> None:
    starts = (
        "import os, signal, subprocess, sys\n"
        "from pathlib import Path\n"
        "from modbench.harness.execution.command import Command\n"
        "from modbench.harness.machine.process import child\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})\n"
        "made = []\n"
        "def make(prints):\n"
        "    made.append(subprocess.Popen(['sleep', '600'], start_new_session=True))\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    return Command(made[0])\n"
        "try:\n"
        "    child.start(make, Path(sys.argv[1]), 600)\n"
        "except KeyboardInterrupt:\n"
        "    print(made[0].poll())\n"
    )
    words = [sys.executable, "-c", starts, str(tmp_path / "log")]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{-signal.SIGTERM}\n"
