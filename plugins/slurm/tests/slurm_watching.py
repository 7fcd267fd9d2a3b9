"""What tests ask of a cluster and of a run folder while Slurm jobs run."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from slurm_stubs import lines

from modbench.harness.domain.case import Job
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.slurm import launcher as slurm
from modbench.plugins.slurm.submitting import submissions

PATIENCE_S = 300.0  # against hanging; a Slurm job of milliseconds takes seconds on a busy machine


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, subprocess.run(
            ["squeue", "-t", "all"], capture_output=True, text=True, check=False
        ).stdout
        time.sleep(0.05)


def starts(folder: RunFolder) -> Counter[str]:
    return Counter(line.split()[0] for line in lines(folder.path / "starts"))


def beside(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def job_of(folder: RunFolder, job: Job) -> str:
    """Slurm's id of the first Slurm job that had a job."""
    known = slurm.states()
    for each in submissions(folder.path):
        for task, names in enumerate(each.tasks):
            if job.name in names and (each.name, task) in known:
                return replace(each, slurm_job=known[each.name, task][0]).id_of(task)
    return ""


def says(*command: str) -> bool:
    """Whether Slurm does what it is told; a controller that is busy may refuse at first."""
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def tell(folder: RunFolder, job: Job, *command: str) -> None:
    """Tell Slurm something of a job's Slurm job, unless that is done: on a busy machine its time limit may come first."""
    slurm_job = job_of(folder, job)
    until(lambda: not folder.path.exists() or folder.record(job).exists() or says(*command, slurm_job))


def hurry(folder: RunFolder, job: Job, times: int) -> None:
    """Start a requeued Slurm job now, for the given time: Slurm would let it wait for two minutes.

    It only spares time and checks nothing, so it ends in silence once the job is done or the folder is gone: in a
    thread it would otherwise fail whichever test comes next.
    """
    slurm_job = job_of(folder, job)
    end = time.monotonic() + PATIENCE_S  # a busy Slurm is slow to call it pending
    asked = ["squeue", "--noheader", "--states=pending", f"--jobs={slurm_job}"]
    until(lambda: not folder.path.exists() or folder.record(job).exists() or subprocess.check_output(asked))
    time.sleep(1.5)  # in the second in which it was requeued Slurm would find its credential revoked
    while time.monotonic() < end and starts(folder)[job.name] < times and not folder.record(job).exists():
        if not folder.path.exists():
            return
        says("scontrol", "update", f"JobId={slurm_job}", "StartTime=now")
        time.sleep(0.05)


def died(folder: RunFolder, job: Job) -> str:
    """How a job's record says that its process died; empty if it did not."""
    said = json.loads(folder.record(job).read_bytes()).get("died")
    return str(said["reason"]) if said else ""
