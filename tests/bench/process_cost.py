"""What does a process of a suite cost, and where does it go? Start, building, contract check, warm-up, measuring.

    python tests/bench/process_cost.py --process 1      # every comparison and workload of `quick`, forked and cold
    python tests/bench/process_cost.py --settle        # how fast calls settle after the first

The cost of a process decides how many there are in a given time. Seconds are wall seconds, CPU seconds follow in brackets.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any

from load import in_a_fresh_process

from modbench import api
from modbench.commands.doctor import aa_comparisons
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Record
from modbench.harness.execution.launchers.local import PRELOAD, LocalLauncher
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.planning.overrides import Overrides, setting_of
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder

PARTS = ("building", "contract check", "warm-up", "measuring", "rest")
Seconds = dict[str, tuple[float, float]]


@contextmanager
def _clocked(owner: Any, name: str, part: str, spent: Seconds) -> Iterator[None]:
    """Add the seconds of a function's calls to a part while the `with` block lasts."""
    inner: Callable[..., Any] = getattr(owner, name)

    def outer(*arguments: Any, **named: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return inner(*arguments, **named)
        finally:
            before = spent.get(part, (0.0, 0.0))
            spent[part] = (before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu)

    setattr(owner, name, outer)
    try:
        yield
    finally:
        setattr(owner, name, inner)


def process(job_json: str) -> Seconds:
    """Run one process in this process; returns its seconds by part, wall and CPU."""
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.call.timing.interleave import Session
    from modbench.harness.execution import worker

    job = Job.model_validate_json(job_json)
    spent: Seconds = {}
    wall, cpu = time.perf_counter(), time.process_time()
    with (
        _clocked(Subject, "__init__", "building", spent),
        _clocked(Subject, "check", "contract check", spent),
        _clocked(Session, "_warm_up", "warm-up", spent),
        _clocked(Session, "_round", "measuring", spent),
    ):
        worker.make_record(job).model_dump_json()
    whole = (time.perf_counter() - wall, time.process_time() - cpu)
    known = [sum(each[clock] for each in spent.values()) for clock in (0, 1)]
    spent["rest"] = (whole[0] - known[0], whole[1] - known[1])
    return spent


class Silent:
    """A progress display that prints nothing."""

    def started(self, job: Job) -> None:
        """Ignore the start of a job."""

    def tick(self) -> None:
        """Ignore the tick."""

    def ended(self, job: Job) -> None:
        """Ignore the end of a job."""

    def added(self, series: str, jobs: Sequence[Job]) -> None:
        """Ignore further jobs."""


class Processes:
    """Runs processes through the product's own runner, one at a time, and keeps their records in a folder."""

    def __init__(self, folder: Path, *, cold: bool = False) -> None:
        self._folder = RunFolder(folder)
        self._folder.jobs.mkdir()
        self._folder.logs.mkdir()
        self._launcher = LocalLauncher(cold=cold, threads=1)

    def make(self, job: Job) -> Record:
        """Run a job in a process of its own."""
        Run(self._launcher, self._folder, Silent()).phase(Slots((job,), 1), {job.name: aa_comparisons.LIMIT_S})
        return read_record(self._folder.record(job), job)


def around(job: Job, *, cold: bool) -> float:
    """Wall seconds of a process outside the measuring pass: the start of its process, imports, and its end."""
    with tempfile.TemporaryDirectory() as name:
        processes = Processes(Path(name), cold=cold)
        if not cold:
            processes.make(job)  # starts the fork server
        start = time.monotonic()
        record = processes.make(job)
        return time.monotonic() - start - record.wall_s


def settling(job_json: str, calls: int) -> list[list[float]]:
    """CPU seconds of the k-th call of every variant over the median of its last calls, variant by variant; without a contract
    check.
    """
    import torch

    from modbench.harness.call.subject.subject import Subject, clock_of
    from modbench.harness.registry import catalogue

    job = Job.model_validate_json(job_json)
    torch.set_num_threads(job.comparison.grid_point.threads)
    metric = catalogue.metrics()[job.facts.makes[0].key]
    clock = clock_of(job.comparison.grid_point)
    made = []
    for case in job.comparison.variants:
        subject = Subject(case, job.protocol.seed, decode=job.protocol.decode, clock=clock)
        subject.module.train(metric.workload == "train_step")
        made.append((metric.measure(subject), subject.inputs(job.protocol.seed, 4)))
    times: list[list[float]] = [[] for _ in made]
    for number in range(calls):
        for row, (call, batches) in zip(times, made, strict=True):
            start = clock.cpu_s()
            call(batches[number % len(batches)])
            row.append(clock.cpu_s() - start)
    return [[each / median(row[calls // 2 :]) for each in row] for row in times]


def _forked(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that is forked as the product's."""
    return in_a_fresh_process(function, *arguments, preload=PRELOAD)


def _cold(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _print_settling(job: Job, processes: int, calls: int) -> None:
    """Print the k-th call's time over that of later calls: the median over variants, and the root mean square between
    variants.
    """
    made = [_forked(settling, job.model_dump_json(), calls) for _ in range(processes)]
    logs = [[fmean(math.log(one[variant][k]) for one in made) for k in range(calls)] for variant in range(len(made[0]))]
    middle = [median(column) for column in zip(*logs, strict=True)]
    apart = [math.sqrt(fmean((row[k] - middle[k]) ** 2 for row in logs)) for k in range(calls)]
    print(f"{job.name:42} median", " ".join(f"{math.expm1(each):+6.1%}" for each in middle[:8]))
    print(f"{'':42} apart ", " ".join(f"{math.expm1(each):6.1%}" for each in apart[:8]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--process", type=int, default=1, help="which launch; the first one checks contracts too")
    parser.add_argument("--settle", action="store_true", help="only how fast calls settle")
    parser.add_argument("--processes", type=int, default=4, help="processes whose calls are averaged with --settle")
    parser.add_argument("--calls", type=int, default=12, help="calls of every variant with --settle")
    options = parser.parse_args()
    flags = Overrides(settings=dict(map(setting_of, options.set)), device="cpu")
    jobs = [u for u in api.make_plan(options.suite, flags).jobs if u.made_in == "time" and u.process == options.process]
    for job in jobs:
        if options.settle:
            _print_settling(job, options.processes, options.calls)
            continue
        for how, run in (("forked", _forked), ("cold", _cold)):
            spent = run(process, job.model_dump_json())
            told = "  ".join(f"{part} {spent[part][0]:.2f} ({spent[part][1]:.2f})" for part in PARTS if part in spent)
            print(f"{job.name:45} {how:6} {told}", flush=True)
    if not options.settle:
        least = min(jobs, key=lambda job: job.flops)
        for how, cold in (("forked", False), ("cold", True)):
            print(f"start, imports and end of a {how} process: {around(least, cold=cold):.2f} s")


if __name__ == "__main__":
    main()
