"""Shared by the scripts that measure under load: a load generator, fresh processes, and pairs of identical models.

The load: processes that compute and sleep in turn, for times drawn from an exponential distribution, so that the machine does
not stay in one state for long. Three of them with a mean of one second on two cores resemble a shared build machine.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from modbench.commands.doctor import aa_comparisons
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import Record
from modbench.harness.execution.launch.local import PRELOAD, LocalLauncher
from modbench.harness.execution.phase import Run, Slots
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.stats import paired
from modbench.harness.stats.effects import Effect

Result = TypeVar("Result")

_BUSY = """
import random, sys, time
import numpy as np
draw, mean = random.Random(int(sys.argv[1])), float(sys.argv[2])
a = np.ones((192, 192), dtype=np.float32)
while True:
    until = time.monotonic() + draw.expovariate(1 / mean)
    while time.monotonic() < until:
        a @ a
    time.sleep(draw.expovariate(1 / mean))
"""


@contextlib.contextmanager
def load(processes: int, mean_s: float = 1.0) -> Iterator[None]:
    """Run load processes in the background, each busy and asleep in turn for times of mean `mean_s`."""
    started = [
        subprocess.Popen(  # our own script
            [sys.executable, "-c", _BUSY, str(seed), str(mean_s)], env={"OPENBLAS_NUM_THREADS": "1"}
        )
        for seed in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


class Silent:
    """A progress display that prints nothing."""

    def started(self, unit: UnitOfWork) -> None:
        """Ignore the start of a unit."""

    def tick(self) -> None:
        """Ignore the tick."""

    def ended(self, unit: UnitOfWork) -> None:
        """Ignore the end of a unit."""

    def added(self, series: str, units: Sequence[UnitOfWork]) -> None:
        """Ignore further units."""


class Launches:
    """Runs launches through the product's own runner, one at a time, and keeps their records in a folder."""

    def __init__(self, folder: Path, *, cold: bool = False) -> None:
        self._folder = RunFolder(folder)
        self._folder.units.mkdir()
        self._folder.logs.mkdir()
        self._launcher = LocalLauncher(cold=cold, threads=1)

    def make(self, unit: UnitOfWork) -> Record:
        """Run a unit in a process of its own."""
        Run(self._launcher, self._folder, Silent()).phase(Slots((unit,), 1), {unit.name: aa_comparisons.LIMIT_S})
        return read_record(self._folder.record(unit), unit)


def pairs_of(records: Sequence[Record]) -> list[paired.Paired]:
    """The A/A comparisons of these launches."""
    return [twin.pair for twin in aa_comparisons.judge(list(records))]


def in_a_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a child of a fork server that has torch loaded, and return its result."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def twins() -> tuple[Callable[[], object], Callable[[], object]]:
    """Forward passes of the doctor's two identical models on one input, on one thread, each warmed up."""
    import torch

    from modbench.harness.registry import catalogue

    torch.set_num_threads(1)
    case = aa_comparisons.units(1, "cpu", 1)[0].comparison.arms[0]
    tokens_BT = torch.randint(case.config.vocab_size, (case.place.batch_size, case.place.seq_len))

    def twin() -> Callable[[], object]:
        module = catalogue.load("models", case.model).build(case.config).eval()

        def call() -> object:
            with torch.no_grad():
                return module(tokens_BT)

        for _ in range(20):
            call()
        return call

    return twin(), twin()


def excludes_none(effect: Effect) -> bool:
    """Whether the 95 % interval excludes no difference."""
    return effect.low is not None and effect.high is not None and not effect.low <= 0 <= effect.high


def width(effect: Effect) -> float:
    """Width of the 95 % interval of the ratio; infinite where there is none."""
    if effect.low is None or effect.high is None:
        return math.inf
    return math.exp(effect.high) - math.exp(effect.low)


def rms(log_ratios: Sequence[float]) -> float:
    """Root mean square of log-ratios whose true value is 0, as a share."""
    return math.expm1(math.sqrt(sum(value**2 for value in log_ratios) / len(log_ratios)))
