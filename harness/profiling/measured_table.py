"""Measures the peaks that `roofline/table.py` holds, in some seconds.

All probes are visited in passes, and the fastest sample of each counts: disturbances only slow down, and one slow moment
does not spoil a point.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, Dtype, Place
from modbench.harness.profiling import probes
from modbench.harness.profiling.probes import Call, Numbers
from modbench.harness.roofline.table import Point, Table
from modbench.harness.roofline.work import Listed
from modbench.harness.subject.build import DTYPES

Clock = Callable[[], float]
# A sample lasts at least this long. Passes are made until the seconds are used up, at least two.
SAMPLE_S, BUDGET_S, LEAST_PASSES = 1e-4, 6.0, 2
# Models whose launches are timed: the Python code of a block is part of a launch, and a routed block has more of it.
TINY, TINY_SAMPLES = ("dense", "mod"), 40
# Rates are divided by seconds: an operator that takes no longer than a launch takes this.
LEAST_S = 1e-9


def best_s(call: Call, samples: int = 1, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call: of the fastest of some short samples, after one to warm up."""
    start = clock()
    call()
    number = max(1, int(SAMPLE_S / max(1e-7, clock() - start)))
    best = float("inf")
    for _ in range(samples):
        start = clock()
        for _ in range(number):
            call()
        best = min(best, (clock() - start) / number)
    return best


def clock_of(threads: int) -> Clock:
    """CPU time of a thread that works alone: waiting for a processor is no work; wall time of several."""
    return time.thread_time if threads == 1 else time.perf_counter


def measure(dtype: Dtype, threads: int, budget_s: float = BUDGET_S) -> Table:
    """Measure the table of a CPU, with the threads that torch is set to."""
    numbers = Numbers(DTYPES[dtype])
    launch, tiny = probes.nothing(numbers), (probes.adamw(numbers, [1]), probes.adamw(numbers, [1] * 33))
    clock, start, passes = clock_of(threads), time.perf_counter(), 0
    with torch.no_grad():
        every = list(probes.every(numbers))
        best = dict.fromkeys((launch, *tiny, *(probe.call for probe in every)), float("inf"))
        while passes < LEAST_PASSES or time.perf_counter() - start < budget_s:
            for call in best:
                best[call] = min(best[call], best_s(call, 5 if call is launch else 1, clock))
            passes += 1
    points = []
    for probe in every:
        base = best[tiny[0]] if probe.kind == "optimizer" else best[launch]
        points.append(Point(kind=probe.kind, size=probe.size, seconds=max(LEAST_S, best[probe.call] - base)))
    table = Table(
        device="cpu",
        dtype=dtype,
        threads=threads,
        torch=torch.__version__,
        passes=passes,
        launch_s=0.0,
        view_s=0.0,
        training_launch_s=0.0,
        training_view_s=0.0,
        tensor_s=max(0.0, (best[tiny[1]] - best[tiny[0]]) / 32),
        points=tuple(points),
    )
    return table.model_copy(update=_launches(dtype, table))


def _launches(dtype: Dtype, table: Table) -> dict[str, float]:
    """Seconds of launching an operator and of making a view, from models that compute next to nothing."""
    x, clock = torch.ones(4, 4), clock_of(table.threads)
    x_grad = x.clone().requires_grad_()
    views: dict[Call, str] = {x.t: "view_s", x_grad.t: "training_view_s"}
    calls = {call: operators for model in TINY for call, operators in _tiny(model, dtype, table.threads)}
    best = dict.fromkeys((*views, *calls), float("inf"))
    for _ in range(TINY_SAMPLES):
        for call in best:
            best[call] = min(best[call], best_s(call, 1, clock))
    found = {name: best[call] for call, name in views.items()}
    for training, view, name in ((False, "view_s", "launch_s"), (True, "training_view_s", "training_launch_s")):
        mine = [(best[call], operators) for call, operators in calls.items() if operators.training == training]
        left = sum(seconds - table.seconds(operators) - operators.views * found[view] for seconds, operators in mine)
        found[name] = max(LEAST_S, left / sum(operators.launches for _, operators in mine))
    return found


def _tiny(model: str, dtype: Dtype, threads: int) -> Iterator[tuple[Call, Listed]]:
    """A forward pass and a training step of a tiny model, with their operators."""
    from modbench.harness.profiling.operators_of_a_call import record
    from modbench.harness.registry import catalogue
    from modbench.harness.subject.subject import Subject

    shape: dict[str, Any] = {
        "d_model": 16,
        "d_ff": 16,
        "n_heads": 1,
        "n_layers": 4,
        "vocab_size": 16,
        "max_seq_len": 16,
    }
    config = ModelConfig.model_validate({**catalogue.model_options(model), **shape})
    place = Place(seq_len=8, batch_size=1, dtype=dtype, device="cpu", threads=threads, compile=False)
    for training in (False, True):
        subject = Subject(Case(model=model, arm_parts=(), config=config, place=place), 0)
        tokens_BT = subject.inputs(0, 1)[0]
        subject.module.train(training)
        call = partial(subject.train_step if training else subject.forward, tokens_BT)
        call()
        yield call, record(call, training=training)
