"""Runs a plan: timed jobs alone, one after the other; others in parallel. A failed job leaves a record; the run goes on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modbench.harness.core.atomic_files import now
from modbench.harness.domain.case import Job
from modbench.harness.domain.phases import Phase
from modbench.harness.domain.records import Record
from modbench.harness.execution.launcher import Launcher, MakeLauncher, Started, is_remote_launcher
from modbench.harness.execution.limits import Limits
from modbench.harness.execution.progress_and_time_left import Display, Tracker
from modbench.harness.execution.run_phase import Asker, Progress, Run, Slots
from modbench.harness.execution.stopping import Stop
from modbench.harness.machine.environment import usable_cores
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results.lock import Lock
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import remove_empty


def phases(plan: Plan, cores: int) -> list[Slots]:
    """Group the jobs by phase: count, then time alone, then memory and training on all cores.

    Nothing but the parent process runs at the same time as a timed job. Jobs that several ranks share come last: on GPUs one at
    a time, on a CPU as many as have cores for all their ranks.
    """
    side_by_side = max(1, cores // plan.suite.threads) if plan.device == "cpu" else 1
    made = []
    for phase in Phase:
        jobs = tuple(job for job in plan.jobs if job.facts.phase == phase)
        alone, timed = any(job.facts.alone for job in jobs), any(job.facts.timed for job in jobs)
        shared = tuple(job for job in jobs if job.ranks > 1)
        made.append(Slots(tuple(job for job in jobs if job.ranks == 1), 1 if alone else side_by_side, timed=timed))
        if shared:
            most = max(job.ranks for job in shared)
            made.append(Slots(shared, max(1, side_by_side // most), ranks=most))
    return made


def launcher_for(plan: Plan, name: str, options: Sequence[str] = ()) -> Launcher[Any]:
    """Make a launcher that can start the jobs of a plan.

    Raises:
        UsageError: if an option is not one of the launcher's, or it could not start a job with them.
    """
    make: MakeLauncher = catalogue.load("launchers", name)
    starts = make(cold=plan.cold, threads=plan.suite.threads, device=plan.device, options=options)
    starts.refuse(plan.jobs)
    return starts


def run(
    plan: Plan,
    folder: RunFolder,
    display: Display | None = None,
    *,
    launcher: str = "local",
    options: Sequence[str] = (),
    whole: Plan | None = None,
    kept: Sequence[Record] = (),
    stop: Stop | None = None,
    lock: Lock | None = None,
    timeout_s: float | None = None,
) -> None:
    """Run every job of the plan; afterwards each has a record, unless interrupted.

    The CPU time that this process took during timed jobs is written to the folder: a busy parent adds noise to what it measures.

    Args:
        plan: what to run.
        folder: where records are written.
        display: shows the progress; None: it is only written to the folder.
        launcher: the name of the launcher that starts jobs.
        options: the launcher's own options.
        whole: the plan of an interrupted run, of which this is the rest; None: this is the whole.
        kept: records of the jobs of the whole that are not measured again.
        stop: what signals ask for.
        lock: the lock on the folder.
        timeout_s: seconds that a job may take; None: from its prediction.

    Raises:
        KeyboardInterrupt: if a signal asked to stop.
        UsageError: if an option is not one of the launcher's.
        ModbenchError: if the folder cannot be written any more, or another runner took it.
    """
    start, timed_wall, timed_cpu = time.monotonic(), 0.0, 0.0
    stop, remote, groups = stop or Stop(), is_remote_launcher(launcher), phases(plan, usable_cores())
    if remote:  # on machines of their own jobs do not disturb each other, and none waits for another phase
        groups = [Slots(tuple(job for slots in groups for job in slots.jobs), len(plan.jobs))]
    limits = Limits(plan, timeout_s, run="" if remote else str(folder.path))
    asker = Asker(whole or plan, folder, plan.jobs)
    tracker = Tracker(
        plan,
        groups,
        folder,
        whole=whole,
        kept=kept,
        decided=asker.decided,
        display=display,
        limits=limits,
        remote=remote,
        stop=stop,
        lock=lock,
    )
    with tracker:
        asker.decide_all()
        if plan.jobs:  # else nothing is started, not even the launcher
            starts = launcher_for(plan, launcher, options)
            running = Run(starts, folder, tracker, asker, stop, lock)
            for slots in groups:
                wall, cpu = time.monotonic(), time.process_time()
                running.phase(slots, limits)
                if slots.timed and slots.jobs:
                    # Rules decide, and answers are printed, while no job runs.
                    timed_wall, timed_cpu = (
                        time.monotonic() - wall,
                        time.process_time() - cpu - asker.cpu_s - tracker.cpu_s,
                    )
        remove_empty(folder.path)
        folder.write_finished(
            {
                "ended": now(),
                "wall_s": time.monotonic() - start,
                "started_monotonic_s": start,
                "timed_wall_s": timed_wall,
                "parent_cpu_s": timed_cpu,
                "resumed": whole is not None,
            }
        )


def run_in_temporary_folder(
    jobs: Sequence[Job], launcher: Launcher[Started], progress: Progress, limit_s: float
) -> list[Record]:
    """Run jobs one after the other in a folder that is deleted afterwards; returns their records."""
    with tempfile.TemporaryDirectory(prefix="modbench-") as name:
        folder = RunFolder(Path(name))
        folder.jobs.mkdir()
        folder.logs.mkdir()
        Run(launcher, folder, progress).phase(Slots(tuple(jobs), 1), {job.name: limit_s for job in jobs})
        return [read_record(folder.record(job), job) for job in jobs]
