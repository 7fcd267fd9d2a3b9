"""Find the longest sequence, or the largest batch, whose training step fits a budget. Each try is a process of its own.

The closed form gives the start; the search brackets the largest value that fits and bisects the bracket. A try that runs out of
memory is a result, and its process leaves nothing behind.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from modbench.extend import (
    ELEMENT_BYTES,
    Case,
    FitNotes,
    Job,
    Metric,
    Missing,
    Outcome,
    Pass,
    Phase,
    Unmeasured,
    attempt,
    clocks,
    closed_form,
    cuda_driver,
    missing,
    nvml,
    percent,
    processes,
    single,
    user_code,
)
from modbench.plugins.machine.fit.table import FIT_RESOLUTION, FitPlan
from modbench.plugins.machine.rss.measurement import MALLOC

Fits = Callable[[int], bool]
# Started with `python -m` for every input that is tried.
TRIAL = "modbench.plugins.machine.fit.trial"
# Trials of one search: a guess 1,000 times off takes ten to bracket, and the bracket is bisected to 1 %.
MOST_TRIALS = 25


def run(job: Job, metrics: list[Metric[Search, int]]) -> Iterator[Outcome]:
    """One outcome for each case and metric, with the forecast. All variants have one budget."""
    plan = FitPlan.given(job.protocol)
    budget = attempt(lambda: plan.memory_limit or _free(job.comparison.grid_point.device))
    for case, metric in itertools.product(job.comparison.variants, metrics):
        if isinstance(budget, Missing):
            yield missing(case, metric, budget)
            continue
        search = Search(case, plan, budget)
        with clocks.busy():
            value = attempt(partial(metric.measure, search))
        yield single(case, metric, value, search.notes)


class Search:
    """Search for the largest input of a case that fits.

    Args:
        case: the case whose training step must fit.
        plan: bounds of the search.
        budget: bytes that the step may allocate.
    """

    def __init__(self, case: Case, plan: FitPlan, budget: int) -> None:
        self.case, self.plan, self.budget = case, plan, budget
        self.notes = FitNotes(memory_limit_bytes=budget)

    def largest(self, axis: str) -> int:
        """The largest value of `seq_len` or `batch_size` that fits.

        Raises:
            Unmeasured: if not even 1 fits, or if the largest value that may be tried fits.
        """
        case, plan, budget = self.case, self.plan, self.budget
        expected = forecast(case, budget, axis, plan.most)
        why = "a user's model has no closed form" if expected is None else None
        self.notes = FitNotes(memory_limit_bytes=budget, forecast=expected, forecast_reason=why)
        fits = functools.cache(partial(_try, case, budget, axis, plan.trial_s))
        found, too_much = bracket(fits, expected or getattr(case.grid_point, axis), plan.most)
        if found == 0:
            raise Unmeasured(f"not even {axis} 1 fits a limit of {budget} B")
        if too_much is None:
            raise Unmeasured(
                f"{axis} {found}, the largest that is tried, fits {budget} B: lower fit.memory_limit or raise fit.most"
            )
        return found


def bracket(fits: Fits, start: int, most: int) -> tuple[int, int | None]:
    """The largest value that fits and the smallest known not to fit, within 1 % of each other.

    Args:
        fits: monotone; called as rarely as possible.
        start: a good guess.
        most: the largest value that is tried.

    Returns:
        (0, 1) if nothing fits; (most, None) if everything fits.
    """
    at = min(max(1, start), most)
    step = max(1, round(FIT_RESOLUTION * at))
    low, high = 0, None
    if fits(at):
        low = at
        while high is None:
            if low == most:
                return low, None
            at = min(most, low + step)
            low, high = (at, None) if fits(at) else (low, at)
            step *= 4
    else:
        high = at
        while low == 0 and high > 1:
            at = max(1, high - step)
            low, high = (at, high) if fits(at) else (0, at)
            step *= 4
    while high - low > max(1, FIT_RESOLUTION * low):
        at = (low + high) // 2
        low, high = (at, high) if fits(at) else (low, at)
    return low, high


def forecast(case: Case, budget: int, axis: str, most: int) -> int | None:
    """The largest value of an axis whose forecast fits; None for a user's model."""
    if case.is_user_model:
        return None

    def bytes_needed(value: int) -> float:
        config, seq_len, batch_size = _grown(case, axis, value)
        return closed_form(case.model, config, seq_len, batch_size).memory_train(ELEMENT_BYTES[case.grid_point.dtype])

    high = 1  # doubled first: some closed forms take seconds at the largest sizes
    while high <= most and bytes_needed(high) <= budget:
        high *= 2
    low = high // 2
    return low + bisect.bisect_right(range(low + 1, min(high, most + 1)), float(budget), key=bytes_needed)


def _grown(case: Case, axis: str, value: int) -> tuple[Any, int, int]:
    grid_point = case.grid_point.model_copy(update={axis: value})
    config = case.config.model_copy(update={"max_seq_len": max(case.config.max_seq_len, grid_point.seq_len)})
    return config, grid_point.seq_len, grid_point.batch_size


def _try(case: Case, budget: int, axis: str, limit_s: float, value: int) -> bool:
    """Run a training step of that size in a process of its own, and return whether it fits.

    Raises:
        TimeoutError: if it takes longer than `limit_s`.
        RuntimeError: if it fails for another reason.
    """
    config, _, _ = _grown(case, axis, value)
    grown = case.model_copy(update={"config": config, "grid_point": case.grid_point.model_copy(update={axis: value})})
    asked = {"case": grown.model_dump(mode="json"), "memory_limit": budget}
    try:
        done = processes.answer(
            [sys.executable, "-m", TRIAL], limit_s, said=json.dumps(asked).encode(), environment=os.environ | MALLOC
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(
            f"{axis} {value} took over {limit_s:g} s: raise fit.trial_s or lower fit.memory_limit"
        ) from error
    said = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    if said.startswith("{"):
        answer = json.loads(said)
        user_code.take(answer["ran"])
        return bool(answer["fits"])
    if done.returncode == -signal.SIGKILL:  # the machine itself ran out of memory
        return False
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    raise RuntimeError(f"{axis} {value}: {last or done.returncode}")


def _free(device: str) -> int:
    """90 % of the memory that is free now, in B.

    Raises:
        Unmeasured: if the system does not report it.
    """
    if device == "cuda":
        return int(0.9 * _free_on_gpu())
    from modbench.extend import free_memory

    free = free_memory()
    if free is None:
        raise Unmeasured("the system does not report how much memory is free: set fit.memory_limit")
    return int(0.9 * free)


def _free_on_gpu() -> int:
    """Free bytes of the GPU, asked of NVIDIA's driver; without it of torch, whose context then stays during all trials."""
    import pynvml

    uuid = cuda_driver.uuid_in_use()
    if uuid is not None:
        with contextlib.suppress(pynvml.NVMLError):
            return nvml.Device(uuid).free_bytes()
    import torch

    return int(torch.cuda.mem_get_info()[0])


def longest(job: Job) -> float:
    """Seconds that all trials of a job take at most."""
    return MOST_TRIALS * FitPlan.given(job.protocol).trial_s * len(job.facts.makes) * len(job.comparison.variants)


PASS = Pass(
    name="fit",
    run=run,
    forward_equivalents=300.0,
    notes=FitNotes,
    phase=Phase.FIT,
    exclusive=True,
    fresh_interpreter=True,
    fixed_overhead_s=longest,
    no_interval=f"found by bisection, within {percent(FIT_RESOLUTION)}: no interval",
    table=FitPlan,
)
