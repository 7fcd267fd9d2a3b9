"""Runs one job of a run folder: `python -m modbench.harness.execution.one_job RUN JOB`, for launchers that start jobs elsewhere.

The job is read from `run.json`, so a job needs no more than two names. It ends with the code of the job's process: 0 when
there is a record; 2 when the folder or the name is wrong. As `modbench resume` it runs what the folder names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.domain.case import Job
from modbench.harness.machine.process import exit_codes
from modbench.harness.results import user_files
from modbench.harness.results.layout import refuse_links, run_file
from modbench.harness.results.run_file import plan_of, read_run_file
from modbench.harness.results.run_folder import RunFolder

# A job without a limit: a scheduler has its own.
ENDLESS_S = 1e6


def planned(folder: Path, name: str) -> Job:
    """Read a job of the plan in `run.json`; the records of a large run are not read.

    Raises:
        UsageError: if the folder holds no readable plan, or no such job.
    """
    file = run_file(folder)
    refuse_links(folder)
    told = read_run_file(file)
    user_files.include_again(told.included)
    jobs = plan_of(told.plan, file, only=name).jobs
    if not jobs:
        raise unknown("job", name, [job["name"] for job in told.plan["jobs"]])
    (job,) = jobs
    return job


def main(arguments: Sequence[str]) -> None:
    """Run a job and end with its code."""
    parser = argparse.ArgumentParser(prog="python -m modbench.harness.execution.one_job", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument("job", metavar="JOB", help="the name of a job in its run.json")
    parser.add_argument("--shipped", action="store_true", help="leave out users' models")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="the job is ended after this time")
    asked = parser.parse_args(arguments)
    try:
        job = planned(asked.run, asked.job)
    except UsageError as error:
        exit_codes.end(error)
    if asked.shipped:
        job = job.shipped
    sys.exit(run(job, asked.run, asked.limit))


def run(job: Job, folder: Path, limit_s: float | None) -> int:
    """Run a job as this machine's launcher does, with its log, its limit and its environment; returns its exit code.

    A job that was killed by a signal ends this process with the same signal.
    """
    from modbench.harness.execution.launchers.local import LocalLauncher

    grid_point = job.comparison.grid_point
    launcher = LocalLauncher(cold=True, threads=grid_point.threads, device=grid_point.device)
    RunFolder(folder).record(job).unlink(
        missing_ok=True
    )  # a job that is asked for by name runs even if it has a record
    handle = launcher.start(job, RunFolder(folder), ENDLESS_S if limit_s is None else limit_s)
    try:
        while not launcher.wait([handle], ENDLESS_S):
            pass
    finally:
        launcher.end(handle)
    code = handle.exitcode
    assert code is not None
    if code < 0:
        exit_codes.by_signal(-code)
    return code


if __name__ == "__main__":
    main(sys.argv[1:])
