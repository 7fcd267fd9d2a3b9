"""A progress display that shows nothing, and a run folder without a run, for tests of launchers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modbench.harness.domain.case import Job
from modbench.harness.results.run_folder import RunFolder


class Quiet:
    """Progress that shows nothing."""

    def started(self, job: Job) -> None:
        pass

    def tick(self) -> None:
        pass

    def added(self, series: str, jobs: Sequence[Job]) -> None:
        pass

    def ended(self, job: Job) -> None:
        pass


def folder_at(path: Path) -> RunFolder:
    """A run folder without a run."""
    folder = RunFolder(path)
    folder.jobs.mkdir(parents=True, exist_ok=True)
    folder.logs.mkdir(exist_ok=True)
    return folder
