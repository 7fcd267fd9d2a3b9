"""What tests ask of a cluster and of a run folder while jobs run."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable

from slurm_stubs import lines

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.results import attempts
from modbench.harness.results.run_folder import RunFolder

PATIENCE_S = 1500.0  # against hanging, on a busy machine too


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


def job_of(folder: RunFolder, unit: UnitOfWork) -> str:
    """Slurm's id of the job that has a unit."""
    for submission in attempts.submissions(folder.path):
        for task, names in enumerate(submission.tasks):
            if unit.name in names and submission.job is not None:
                return submission.id_of(task)
    return ""


def hows(folder: RunFolder, unit: UnitOfWork) -> list[str | None]:
    """How the attempts at a unit ended; a job writes it after the record."""
    return [each.how for each in attempts.all_attempts(folder.path).get(unit.name, [])]


def slurm_says(*command: str) -> None:
    """Tell Slurm something; a controller that is busy may refuse at first."""
    until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0)


def tell(folder: RunFolder, unit: UnitOfWork, *command: str) -> None:
    """Tell Slurm something of a unit's job, unless that is done: on a busy machine its time limit may come first."""
    job = job_of(folder, unit)
    until(
        lambda: (
            not folder.path.exists()
            or "done" in hows(folder, unit)
            or subprocess.run([*command, job], check=False, capture_output=True).returncode == 0
        )
    )


def hurry(folder: RunFolder, unit: UnitOfWork, times: int) -> None:
    """Start a requeued job now, for the given time: Slurm would let it wait for two minutes.

    It only spares time and checks nothing, so it ends in silence once the unit is done or the folder is gone: in a
    thread it would otherwise fail whichever test comes next.
    """
    job, end = job_of(folder, unit), time.monotonic() + PATIENCE_S  # a busy Slurm is slow to call the job pending
    while time.monotonic() < end and starts(folder)[unit.name] < times and "done" not in hows(folder, unit):
        if not folder.path.exists():
            return
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True, check=False)
        time.sleep(0.05)


def record(folder: RunFolder, unit: UnitOfWork) -> dict[str, object]:
    return dict(json.loads(folder.record(unit).read_bytes()))
