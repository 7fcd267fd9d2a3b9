"""Energy: joules from the NVIDIA driver's counter over windows of seconds; without a counter there is only a reason."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.extend import Metric, generation

if TYPE_CHECKING:
    from modbench.extend import Subject
    from modbench.plugins.machine.energy.measurement import Call

_energy = partial(
    Metric[Any, Any],
    unit="J",
    better="lower",
    measured_by="energy",
    no_theoretical="how much energy a saved FLOP saves is not known",
)

METRICS: tuple[Metric[Subject, Call], ...] = (
    _energy(
        key="energy/total",
        workload="train_step",
        about="Energy of one training step of the whole device, idle power included",
        measure=lambda subject: subject.train_step,
    ),
    _energy(
        key="energy/per_token",
        per="token",
        workload="train_step",
        about="Energy of a training step per token of its batch",
        measure=lambda subject: subject.train_step,
    ),
    _energy(
        key="energy/per_token/forward",
        per="token",
        workload="forward",
        about="Energy of a forward pass per token of its batch",
        measure=lambda subject: subject.forward,
    ),
    _energy(
        key="energy/per_token/decode",
        per="token",
        workload="decode",
        about="Energy of decoding per generated token",
        measure=lambda subject: generation(subject).decode(),
    ),
)
