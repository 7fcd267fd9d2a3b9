"""Jobs in this process: no worker starts, and what a test has loaded, such as transformers, is not loaded anew by each job."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from fake_launcher import FakeLauncher

from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.execution import user_model_costs, worker
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.results import workspace
from modbench.harness.results.run_folder import RunFolder


class Here(FakeLauncher):
    """Runs each job as it is started; one that would end its process ends the test."""

    def __init__(self, **_: object) -> None:
        pass

    def at_once(self, usual: int) -> int:
        return min(usual, 1)

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        grid_point = workspace.Workspace(folder.path, job.name)
        with workspace.at(grid_point), folder.log(job).open("w", encoding="utf-8") as log:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                record = worker.with_log(worker.make_record(job), folder)
            folder.write_record(record)
            grid_point.tidy()
        return super().start(job, folder, timeout_s)

    def ask(self, handle: Any) -> None:
        """It has ended."""


def counted(cases: Sequence[Case], *, memory: bool = False, operators: bool = False) -> list[UserModelCost | str]:
    """What users' models cost, counted in this process, without a forecast of their memory."""
    del memory
    return [user_model_costs.count(with_facts(case), operators=operators) for case in cases]
