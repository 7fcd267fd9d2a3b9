"""Energy: joules from the NVIDIA driver's counter over windows of seconds; without a counter there is only a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.metrics.decode import generation

if TYPE_CHECKING:
    from modbench.harness.passes.energy import Call
    from modbench.harness.subject.subject import Subject

NOT_KNOWN = "how much energy a saved FLOP saves is not known"

METRICS: tuple[Metric[Subject, Call], ...] = (
    Metric(
        key="energy/total",
        unit="J",
        better="lower",
        made_in="energy",
        workload="train_step",
        no_ideal=NOT_KNOWN,
        about="Energy of one training step of the whole device, idle power included",
        measure=lambda subject: subject.train_step,
    ),
    Metric(
        key="energy/per_token",
        per="token",
        unit="J",
        better="lower",
        made_in="energy",
        workload="train_step",
        no_ideal=NOT_KNOWN,
        about="Energy of a training step per token of its batch",
        measure=lambda subject: subject.train_step,
    ),
    Metric(
        key="energy/per_token/forward",
        per="token",
        unit="J",
        better="lower",
        made_in="energy",
        workload="forward",
        no_ideal=NOT_KNOWN,
        about="Energy of a forward pass per token of its batch",
        measure=lambda subject: subject.forward,
    ),
    Metric(
        key="energy/per_token/decode",
        per="token",
        unit="J",
        better="lower",
        made_in="energy",
        workload="decode",
        no_ideal=NOT_KNOWN,
        about="Energy of decoding per generated token",
        measure=lambda subject: generation(subject).decode(),
    ),
)
