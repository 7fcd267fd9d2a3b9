"""Measure bytes of tensors: a metric's `measure` is given `Weighed`, a fresh subject and its peak."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.case import ELEMENT_BYTES, Case, Job, Protocol
from modbench.harness.domain.notes import MemoryNotes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.domain.records import Missing, Outcome
from modbench.harness.machine.process import clocks
from modbench.harness.planning.flops.closed_form import case_cost, case_decode_cost
from modbench.harness.results import workspace
from modbench.harness.results.measured_or_missing import attempt, missing, single

if TYPE_CHECKING:
    from modbench.harness.call.step_peak_memory import Peak
    from modbench.harness.call.subject.subject import Subject


NO_FORM = "this model has no closed form of it"


class Weighed:
    """A checked subject and the bytes of its tensors; the training step is run once for all metrics.

    Args:
        case: the case to measure.
        protocol: how to measure it.
    """

    def __init__(self, case: Case, protocol: Protocol) -> None:
        from modbench.harness.call.subject.subject import Subject

        self.subject: Subject = Subject(case, protocol.seed, decode=protocol.decode)
        self.subject.check(self.subject.inputs(protocol.seed, 1)[0])

    @cached_property
    def peak(self) -> Peak:
        """Peak of the second training step."""
        from modbench.harness.call.step_peak_memory import of_training

        self.subject.module.train()
        return of_training(self.subject)

    @property
    def parameters(self) -> float:
        """Bytes of parameters."""
        return float(sum(p.numel() * p.element_size() for p in self.subject.module.parameters()))

    @property
    def gradients(self) -> float:
        """Bytes of gradients after a backward pass."""
        self.subject.module.train()
        self.subject.backward(self.subject.inputs(0, 1)[0])
        found = [p.grad for p in self.subject.module.parameters() if p.grad is not None]
        self.subject.optimizer.zero_grad(set_to_none=True)
        return float(sum(grad.numel() * grad.element_size() for grad in found))

    @property
    def optimizer(self) -> float:
        """Bytes of the optimizer's state after a step, without its step counters."""
        _ = self.peak
        states = self.subject.optimizer.state.values()
        moments = (value for state in states for name, value in state.items() if name != "step")
        return float(sum(value.numel() * value.element_size() for value in moments))


def run(job: Job, metrics: list[Metric[Weighed, float]]) -> Iterator[Outcome]:
    """One outcome for each case and metric, with the forecast."""
    weighed: Weighed | Missing | None
    variants = job.comparison.variants
    for number, case in enumerate(variants, 1):
        steps = workspace.Steps(f"{case.id}, {number} of {len(variants)}")
        steps.say("weights, and its contract")
        weighed = None  # free the last variant first: two at once would need more memory than either
        gc.collect()
        weighed = attempt(partial(Weighed, case, job.protocol))
        forecast = forecasts(case, job.protocol.decode.tokens)
        for metric in metrics:
            if isinstance(weighed, Missing):
                yield missing(case, metric, weighed)
                continue
            steps.say(metric.key)
            with clocks.busy():
                value = attempt(partial(metric.measure, weighed))
            retries = weighed.peak.retries if metric.statistic == "peak" else None
            notes = forecast.of(metric.key).model_copy(update={"alloc_retries": retries})
            yield single(case, metric, value, notes)


@dataclass(frozen=True)
class Forecasts:
    """Forecast bytes of a case.

    Attributes:
        bytes: metric key to bytes.
        reason: why there is no forecast, or only some.
    """

    bytes: Mapping[str, float | None] = field(default_factory=dict)
    reason: str | None = None

    def of(self, key: str) -> MemoryNotes:
        """Notes of a metric, by its key."""
        forecast = self.bytes.get(key)
        return MemoryNotes(forecast=forecast, forecast_reason=self.reason or (NO_FORM if forecast is None else None))


def forecasts(case: Case, steps: int = 0) -> Forecasts:
    """Forecast each memory metric: by the closed form, or for a user's model with fake tensors, which know its own tensors.

    Args:
        case: the case.
        steps: decode steps for which a cache has room beyond its context; a user's grows as it is filled.
    """
    cost, width = case_cost(case), ELEMENT_BYTES[case.grid_point.dtype]
    decode = case_decode_cost(case, case.grid_point.seq_len + (0 if case.is_user_model else steps))
    held = {"memory/kv_cache": decode.held * width if decode else None}
    if cost is not None and not case.is_user_model:
        params = cost.params * width
        return Forecasts(
            {
                **held,
                "memory/peak_allocated": cost.memory_train(width),
                "memory/activations": cost.memory.saved(width),
                "memory/parameters": params,
                "memory/gradients": params,
                "memory/optimizer": 2 * params,
            }
        )
    if case.grid_point.device != "cpu":
        return Forecasts(held, "a user's model has no closed form, and fake tensors run on a CPU only")
    from modbench.harness.call.step_peak_memory import of_fake_tensors

    try:
        peak = of_fake_tensors(case)
    except Unmeasured as error:
        return Forecasts(held, f"a user's model has no closed form, and {error}")
    except Exception as error:  # noqa: BLE001  # a user's model may raise anything; then there is no forecast
        return Forecasts(
            held, f"a user's model has no closed form, and on fake tensors it raised {type(error).__name__}"
        )
    return Forecasts(held | {"memory/peak_allocated": peak.peak, "memory/activations": peak.saved})


PASS = Pass(name="memory", run=run, forward_equivalents=9.0, notes=MemoryNotes, phase=Phase.TRAIN)
