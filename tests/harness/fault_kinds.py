"""The faults of the fault table: how each is brought about, and the exit code that is documented for it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fault_driver import Trial
from fault_process import Process, kill


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: as in the table.
        bring: brings it about in a trial, and resumes; false if the command had ended before its moment.
    """

    name: str
    bring: Callable[[Trial], bool]


def _signalled(trial: Trial, numbers: tuple[int, ...], codes: set[int]) -> bool:
    """Signals to the whole process group, as a terminal and a scheduler send them; SIGKILL to the runner alone."""
    process = trial.begin()
    if not trial.reach(process):
        return False
    for at, number in enumerate(numbers):
        if at:
            time.sleep(0.03 * trial.rng.random())
        if process.alive:
            kill(process.pid, number, group=number != signal.SIGKILL)
    process.wait()
    if not (trial.run / "run.json").exists():  # it had not begun: nothing is kept, and early on nobody listens yet
        codes = codes | {130, *(-number for number in numbers)}
    trial.ended(process, codes | {0} if trial.whole else codes)  # the last units may end before they are asked to
    trial.settle()
    trial.resume()
    return True


def _worker_killed(trial: Trial) -> bool:
    process = trial.begin()
    if not trial.reach(process):
        return False
    while process.alive and not (running := trial.running(process)):
        time.sleep(0.0005)
    if not process.alive:
        return False
    kill(trial.rng.choice(list(running.values())))
    trial.ended(process, {0})
    trial.settle()
    trial.resume()
    return True


def _helper_killed(trial: Trial, what: str) -> bool:
    """The fork server or the minders are killed. The run goes on: units that this ended start again; all have records."""
    process = trial.begin()
    if not trial.reach(process):
        return False
    servers = trial.helpers(process)[what]
    for pid in servers:
        kill(pid)
    trial.ended(process, {0}, lines=4)
    trial.settle()
    if process.code == 0 and (lost := trial.counts()[0]):
        trial.problems.append(f"{lost} units were lost before anything was resumed")
    trial.resume()
    return bool(servers)


def _refused(trial: Trial, fault: str) -> bool:
    """The disk refuses from the moment on, until the command has ended."""
    process = trial.begin(fault=fault)
    if not trial.reach(process):
        return False
    trial.switch.touch()
    process.wait()
    codes = {0, 3} if trial.whole else {3}
    # A folder in which nothing can be begun is the wrong one to name.
    trial.ended(process, codes if (trial.run / "run.json").exists() else {2, 3})
    trial.settle()
    trial.switch.unlink()
    trial.resume()
    return True


def _taken(trial: Trial) -> bool:
    """The folder is moved away, and back when the command has ended."""
    process = trial.begin()
    if not trial.reach(process) or not (trial.run / "run.json").exists():
        process.wait()
        return False
    away = trial.beside / "away"
    trial.run.rename(away)
    trial.ended(process, {3} if trial.moment < 0.85 else {0, 3})
    if trial.run.exists():
        trial.problems.append(f"the folder was made again: {sorted(path.name for path in trial.run.iterdir())}")
        shutil.rmtree(trial.run)
    away.rename(trial.run)
    trial.settle()
    trial.resume()
    return True


def _clock_back(trial: Trial) -> bool:
    """The wall clock is set back by a day and an hour while units run, the command is killed, and it stays back."""
    process = trial.begin(fault="clock")
    if not trial.reach(process):
        return False
    trial.switch.touch()
    if trial.rng.random() < 0.5:
        trial.ended(process, {0})
    else:
        time.sleep(0.1 * trial.rng.random())
        kill(process.pid)
        trial.ended(process, {0, -9})
    trial.settle()
    if not (trial.run / "run.json").exists():
        return False
    again = trial.command("resume", "run", fault="clock")
    trial.ended(again, {0})
    return True


def _three_at_once(trial: Trial) -> bool:
    """A run and two resumes on one folder: one of them works, the others are refused and change nothing."""
    process = trial.begin()
    if not trial.reach(process) or not (trial.run / "run.json").exists():
        process.wait()
        return False
    others = [trial.command("resume", "run") for _ in range(2)]
    for other in others:
        trial.ended(other, {0, 2})
    trial.ended(process, {0})
    trial.settle()
    trial.resume()
    return True


def _damaged(trial: Trial, size: Callable[[int], int]) -> bool:
    """The command is killed and the latest record is cut, as by a power cut on a file system that renames before it writes."""
    process = trial.begin()
    if not trial.reach(process):
        return False
    kill(process.pid)
    process.wait()
    trial.ended(process, {-9, 0} if trial.whole else {-9})  # it may have been at its end
    trial.settle()
    files = sorted((trial.run / "jobs").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        return False
    whole = files[-1].read_bytes()
    files[-1].write_bytes(whole[: size(len(whole))])
    trial.kept.pop(files[-1].stem, None)
    trial.resume()
    return True


def _homeless(trial: Trial) -> bool:
    """No HOME, and a user id without an entry in the password file; the command is killed and resumed as that user."""
    process = trial.begin(fault="no home")
    if not trial.reach(process):
        return False
    kill(process.pid)
    process.wait()
    trial.ended(process, {-9, 0} if trial.whole else {-9})  # it may have been at its end
    trial.settle()
    if not (trial.run / "run.json").exists():
        return False
    trial.ended(trial.command("resume", "run", fault="no home"), {0})
    return True


def _hangs(trial: Trial) -> bool:
    """A unit hangs until its limit has passed; it then counts as failed, and is run again when asked for."""
    process = trial.begin_hanging()
    if process is None:
        return False
    trial.ended(process, {0})
    trial.settle()
    trial.resume("--retry-failed")
    return True


def _dies_after_record(trial: Trial) -> bool:
    """A worker is killed after it has written its record and before it tidies up."""
    process = trial.begin_dying()
    trial.ended(process, {0})
    trial.settle()
    trial.resume()
    return True


def _stolen(trial: Trial) -> bool:
    """A runner is stopped as if its machine slept; another steals the folder once, and the first wakes up."""
    process = trial.begin()
    if not trial.reach(process) or not (trial.run / "run.json").exists():
        process.wait()
        return False
    kill(process.pid, signal.SIGSTOP, group=True)
    thief: Process = trial.command("resume", "--take-over", "run")
    trial.ended(thief, {0, 2})
    kill(process.pid, signal.SIGCONT, group=True)
    trial.ended(process, {0, 2, 3, 4})
    trial.settle()
    trial.resume()
    return True


FAULTS = [
    Fault("SIGKILL of the runner", partial(_signalled, numbers=(signal.SIGKILL,), codes={-9})),
    Fault("SIGKILL of a worker", _worker_killed),
    Fault("SIGKILL of the fork server", partial(_helper_killed, what="fork server")),
    Fault("SIGKILL of a unit's minder", partial(_helper_killed, what="minder")),
    Fault("SIGTERM", partial(_signalled, numbers=(signal.SIGTERM,), codes={4})),
    Fault("SIGHUP", partial(_signalled, numbers=(signal.SIGHUP,), codes={4})),
    Fault("one Ctrl-C", partial(_signalled, numbers=(signal.SIGINT,), codes={4})),
    Fault("two Ctrl-C", partial(_signalled, numbers=(signal.SIGINT, signal.SIGINT), codes={4})),
    *(
        Fault(name, partial(_refused, fault=name))
        for name in ("disk full", "quota used up", "no inodes", "read-only", "input/output error")
    ),
    Fault("folder moved away", _taken),
    Fault("clock set back", _clock_back),
    Fault("a run and two resumes at once", _three_at_once),
    Fault("a lock that is stolen", _stolen),
    Fault("a torn record", partial(_damaged, size=lambda size: size // 2)),
    Fault("a record of no bytes", partial(_damaged, size=lambda _: 0)),
    Fault("no HOME, no entry in passwd", _homeless),
    Fault("a unit that hangs", _hangs),
    Fault("a unit that dies after its record", _dies_after_record),
]
