"""Launchers without processes, and runs by them: each job leaves a planted record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modbench.harness.core import atomic_files
from modbench.harness.domain.case import Job
from modbench.harness.execution import resuming
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_phase import Asker, Run, Slots
from modbench.harness.execution.runner import phases
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.planted_runs import ENVIRONMENT, PlantedTrouble, planted_record, unsynced


class FakeLauncher:
    """Starts nothing: a job has ended when it is first waited for, and what it leaves is up to who inherits."""

    is_remote = False
    exitcode = 0

    def refuse(self, jobs: Sequence[Job]) -> None:
        pass

    def at_once(self, usual: int) -> int:
        return usual

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        del timeout_s
        return SimpleNamespace(job=job, record=folder.record(job), running=False, exitcode=self.exitcode, died=None)

    def wait(self, handles: list[Any], timeout_s: float) -> list[Any]:
        del timeout_s
        return list(handles)

    def ask(self, handle: Any) -> None:
        raise AssertionError(handle)

    def leave(self, handles: list[Any]) -> str:
        raise AssertionError(handles)

    def end(self, handle: Any) -> None:
        """It has ended."""


class Planting(FakeLauncher):
    """Its jobs leave a planted record at once, but for those that die; Ctrl-C is pressed after `most` of them."""

    exitcode = 9

    def __init__(self, most: int | None = None, dies: Sequence[str] = (), **trouble: Any) -> None:
        self.ran: list[str] = []
        self.most, self.dies, self.trouble = most, dies, trouble

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        if len(self.ran) == self.most:
            raise KeyboardInterrupt
        self.ran.append(job.name)
        if job.name not in self.dies:
            folder.write_record(planted_record(job, PlantedTrouble(**self.trouble)))
        return super().start(job, folder, timeout_s)


@unsynced()
def new_folder(made: Plan, path: Path) -> RunFolder:
    folder = run_folder.create(str(path), "planted")
    folder.write_run(made, ENVIRONMENT, ["modbench"], atomic_files.now())
    return folder


@unsynced()
def run_timed(made: Plan, folder: RunFolder, *, whole: Plan | None = None, **planting: Any) -> tuple[Planting, Tracker]:
    """Run the timed jobs of a plan; `planting` is what `Planting` takes."""
    asker = Asker(whole or made, folder, made.jobs)
    launcher = Planting(**planting)
    lines = Tracker(made, phases(made, 1), folder, whole=whole, decided=asker.decided)
    slots = Slots(tuple(job for job in made.jobs if job.made_in == "time"), 1, timed=True)
    Run(launcher, folder, lines, asker).phase(slots, {job.name: 9.0 for job in slots.jobs})
    return launcher, lines


def what_is_left(folder: RunFolder) -> tuple[Plan, Plan]:
    """What `api.resume` runs, and of which plan; damaged records are set aside."""
    run = resuming.without_old_decisions(run_folder.read(str(folder.path)), retry_failed=False)
    for damaged in run.damaged:
        folder.set_aside(damaged)
    rest, whole = (
        run.plan.model_copy(update={"jobs": (*jobs, *run.undecided)})
        for jobs in (resuming.remaining(run, retry_failed=False), run.plan.jobs)
    )
    return rest, whole


def resume_timed(folder: RunFolder, **planting: Any) -> tuple[Planting, Tracker]:
    """Run the timed jobs that are left."""
    rest, whole = what_is_left(folder)
    return run_timed(rest, folder, whole=whole, **planting)
