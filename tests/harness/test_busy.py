"""Where a run's time went: inside measured work, and beside it in the parent."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from quiet import Quiet, folder_at

from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Record
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.machine.process.clocks import union_s
from modbench.harness.results.run_folder import RunFolder
from modbench.planted_runs import PlantedTrouble, planted_plan, planted_record

MOMENTS = st.integers(0, 60)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda ends: (float(min(ends)), float(max(ends)))), max_size=12)


@given(spans=SPANS)
def test_seconds_covered_by_two_are_counted_once(spans: list[tuple[float, float]]) -> None:
    covered = {second for low, high in spans for second in range(int(low), int(high))}
    assert union_s(spans) == len(covered)


class Sleeps(LocalLauncher):
    """Starts jobs that leave a record, last two seconds, and compute nothing."""

    left: Record

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        folder.write_record(self.left)
        here, there = multiprocessing.Pipe(duplex=False)
        threading.Timer(2.0, there.close).start()
        process = SimpleNamespace(sentinel=here, is_alive=lambda: not here.poll())
        told = {"running": False, "timed_out": False, "exitcode": 0, "died": None, "revive": lambda: False}
        until = time.monotonic() + timeout_s
        return SimpleNamespace(job=job, record=folder.record(job), process=process, deadline=until, **told)

    def end(self, handle: Any) -> None:
        handle.process.sentinel.close()


def test_the_parent_only_waits(tmp_path: Path) -> None:
    """It blocks on its children's pipes: a parent that polls would take a core, not under 1 % of one."""
    job = next(job for job in planted_plan("draft").jobs if job.made_in == "time")
    launcher = Sleeps(cold=True, threads=1)
    launcher.left = planted_record(job, PlantedTrouble())
    running = Run(launcher, folder_at(tmp_path), Quiet())
    wall, cpu = time.monotonic(), time.process_time()
    running.phase(Slots((job,), 1), {job.name: 600.0})
    assert time.process_time() - cpu < 0.01 * (time.monotonic() - wall)
