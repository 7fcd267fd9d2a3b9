"""Load processes, and fresh processes that time a planted pair beside them: a block called 100 times, or a little oftener.

Linux shares a processor first between process sessions, then inside them (its autogroup). A tool that starts its workers in
sessions of their own, as modbench does, would get more than others beside load that has one session. So every load process has
one of its own. The block is torch's own, so that no tool has to load more than torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch
from torch import nn

from modbench.harness.call.timing.interleave import Clock, Effort, Session
from modbench.harness.machine import counter_sampler
from modbench.harness.stats.paired import ProcessSamples

Result = TypeVar("Result")

# What a process of planted work needs; one that is not found is loaded by each child.
PRELOAD = ("torch", "load", "modbench.harness.execution.gc_freeze")
# Ends with the process that started it, whatever ends that.
_BUSY = """
import os, random, sys, time
parent, mean, draw = int(sys.argv[1]), float(sys.argv[2]), random.Random(int(sys.argv[3]))
while os.getppid() == parent:
    until = time.monotonic() + (draw.expovariate(1 / mean) if mean else 1.0)
    while time.monotonic() < until:
        pass
    if mean:
        time.sleep(draw.expovariate(1 / mean))
"""


@contextlib.contextmanager
def load(processes: int, mean_s: float = 0.0) -> Iterator[list[int]]:
    """Run load processes in the background, each in a session of its own; gives their process ids.

    Args:
        processes: how many.
        mean_s: each computes and sleeps in turn, for times drawn from an exponential distribution with this mean, so that the
            machine does not stay in one state for long; 0: each spins without a pause.
    """
    started = [
        subprocess.Popen(  # our own script
            [sys.executable, "-S", "-c", _BUSY, str(os.getpid()), str(mean_s), str(seed)],
            start_new_session=True,
        )
        for seed in range(processes)
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def in_a_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a child of a fork server that has these modules loaded, and return its result."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def call_of(times: int) -> Callable[..., None]:
    """A call of so many forward passes of one block, on one thread: 100 take about 12 ms."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(64, 1, 256, dropout=0.0, batch_first=True).eval()
    x_BTD = torch.randn(1, 32, 64)

    def call(_number: int = 0) -> None:
        with torch.inference_mode():
            for _ in range(times):
                block(x_BTD)

    return call


def block_process(less: int, more: int, rounds: int) -> ProcessSamples:
    """What one process measures of so many passes of a block and of more, interleaved by the product's session.

    The two are built in random order, as variants of a run are: what lies where makes a difference.
    """
    times = {"less": less, "more": more}
    built = {name: call_of(times[name]) for name in random.sample(["less", "more"], 2)}
    with contextlib.closing(counter_sampler.Collector()) as collector:
        session = Session(
            {name: built[name] for name in times},
            "less",
            rng=random.Random(),
            clock=Clock(),
            on_error=lambda _variant, _error: None,
            survivable=(),
            of_samples=counter_sampler.of_samples(1, collector),
            of_blocks=counter_sampler.of_blocks(),
        )
        found = session.measure(Effort(rounds, warm_up_calls=3, warm_up_s=0.05))
    return ProcessSamples(found.samples["more"], None, found.samples["less"], found.blocks)
