"""Seconds of a compilation: the first call of compiled code minus a later one, from an empty cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from modbench.extend import Metric, clocks

if TYPE_CHECKING:
    from modbench.extend import Subject

# Calls after the first; their median is the time of compiled code.
QUIET_CALLS = 3


def _first_calls(workload: str) -> Callable[[Subject], float]:
    def compile_and_call(subject: Subject) -> float:
        """Seconds of the first call minus those of a later one."""
        import torch

        call, tokens_BT = getattr(subject, workload), subject.inputs(0, 1)[0]
        subject.module.train(workload == "train_step")
        with torch.compiler.set_stance("force_eager"):  # the first call also initialises libraries, compiled or not
            call(tokens_BT)
        subject.clock.synchronize()
        seconds = []
        for _ in range(QUIET_CALLS + 1):
            start = clocks.perf_counter()
            call(tokens_BT)
            subject.clock.synchronize()
            seconds.append(clocks.perf_counter() - start)
        return float(seconds[0] - median(seconds[1:]))

    return compile_and_call


_first = partial(Metric[Any, Any], unit="s", better="lower", measured_by="compile")
METRICS: tuple[Metric[Subject, float], ...] = (
    _first(
        key="latency/compile",
        workload="forward",
        about="First call of a compiled forward pass minus a later one, from an empty cache",
        measure=_first_calls("forward"),
    ),
    _first(
        key="latency/compile/train_step",
        workload="train_step",
        about="First call of a compiled training step minus a later one, from an empty cache",
        measure=_first_calls("train_step"),
    ),
)
