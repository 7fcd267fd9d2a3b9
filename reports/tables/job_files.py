"""Which files of a run folder hold the raw samples of a case: records of jobs, and logs of what their processes printed."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache, cached_property
from pathlib import Path

from modbench.harness.core.group_by import grouped
from modbench.harness.domain.case import Job
from modbench.harness.results import layout
from modbench.harness.results.run_file import StoredRun


class Files:
    """The files of some cases."""

    def __init__(self, run: StoredRun, cases: Collection[str]) -> None:
        self.run, self.cases = run, set(cases)

    @cached_property
    def jobs(self) -> dict[str, list[Job]]:
        """Jobs with a record, by the id of the cases in them."""
        missing = set(self.run.missing)
        there = (job for job in self.run.plan.jobs if job.name not in missing)
        return grouped((case.id, job) for job in there for case in job.comparison.variants if case.id in self.cases)

    def records(self, case: str, group: str | None = None) -> list[str]:
        """Return the records of a case, processes of a series in one: `jobs/time-forward-T128-process{0..6}.json`."""
        jobs = [job for job in self.jobs.get(case, []) if group is None or job.workload == group]
        return self._paths(jobs, "jobs", ".json")

    def logs(self, case: str) -> list[str]:
        """Return the logs of a case's jobs that are there."""
        return self._paths([job for job in self.jobs.get(case, []) if job.name in self._logged], "logs", ".log")

    @cached_property
    def _logged(self) -> set[str]:
        names = {job.name for jobs in self.jobs.values() for job in jobs}
        return {name for name in names if layout.file_of(self.run.path, "logs", name, ".log").is_file()}

    def _paths(self, jobs: list[Job], folder: str, ending: str) -> list[str]:
        if layout.of(self.run.path) == layout.SPREAD:
            return [_path(self.run.path, folder, job.name, ending) for job in jobs]
        series = grouped((f"{job.series}-process" if job.series else job.name, job.process) for job in jobs)
        repeated = {f"{job.series}-process" for job in jobs if job.series}
        return [
            f"{folder}/{stem}{_span(processes) if stem in repeated else ''}{ending}"
            for stem, processes in series.items()
        ]


@cache
def _path(run: Path, folder: str, name: str, ending: str) -> str:
    """A file of a job as a path in the run folder: several cases share each."""
    return layout.file_of(run, folder, name, ending).relative_to(run).as_posix()


def _span(processes: list[int]) -> str:
    """The processes of a series, as a shell writes several names: `{0..6}`."""
    if len(processes) == 1:
        return str(processes[0])
    if processes == list(range(processes[0], processes[-1] + 1)):
        return f"{{{processes[0]}..{processes[-1]}}}"
    return f"{{{','.join(map(str, processes))}}}"


# Stands before the log that tells more of a failure.
SEE = "; see "
# The log of a process that died, if another tried after it; else the job's own.
ENDINGS = (".died.log", ".log")


def logs(run: StoredRun) -> dict[tuple[str, str], str]:
    """Return by case and metric the log of the first unit in which that cell failed, as a path in the run folder."""
    found: dict[tuple[str, str], str] = {}
    for record in run.records:
        cells = {(outcome.case, outcome.metric) for outcome in record.outcomes if outcome.status == "failed"}
        files = [layout.file_of(run.path, "logs", record.job.name, ending) for ending in ENDINGS] if cells else []
        log = next((file.relative_to(run.path).as_posix() for file in files if file.is_file()), "")
        for cell in cells if log else ():
            found.setdefault(cell, log)
    return found


def in_run_folder(reason: str, folder: Path) -> str:
    """Return a reason whose log is named by a path that can be opened from here, not by one in the run folder."""
    return re.sub(rf"{SEE}(?=(?:logs|jobs)/)", lambda _: f"{SEE}{folder}/", reason)
