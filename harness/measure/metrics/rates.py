"""Rates derived from times: tokens per second, and the share of the machine's measured peak (MFU)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from modbench.harness.core.contracts import Metric, Workload
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.notes import CountNotes


class Derived(Protocol):
    """What a derived metric reads besides the seconds of its source; supplied by the report."""

    @property
    def tokens(self) -> float:
        """Tokens of one call or decode step."""

    @property
    def peak(self) -> float | None:
        """The machine's measured peak in FLOP/s, for the case's number format."""

    @property
    def peak_reason(self) -> str:
        """Why there is no peak."""

    @property
    def counted(self) -> CountNotes:
        """Results of counting the case."""


def _of_peak(read: Callable[[CountNotes], float | None]) -> Callable[[Derived], float]:
    def share(derived: Derived) -> float:
        flops, peak = read(derived.counted), derived.peak
        if peak is None:
            raise Unmeasured(derived.peak_reason)
        if not flops or derived.counted.uncounted:
            raise Unmeasured("FLOPs were not fully counted: a share of the peak would be too low")
        return flops / peak

    return share


RATES: tuple[tuple[str, Workload, str, str], ...] = (
    ("tokens_per_s/greedy", "decode", "tpot", "Generated tokens of the whole batch per second, after the first"),
    ("tokens_per_s/decode", "decode", "latency/decode", "Tokens of the whole batch per second of decode steps"),
    ("tokens_per_s/prefill", "prefill", "latency/prefill", "Prompt tokens read per second"),
    (
        "tokens_per_s/request",
        "request",
        "latency/request",
        "New tokens of the whole batch per second of end-to-end requests",
    ),
    ("tokens_per_s/forward", "forward", "latency/forward", "Tokens per second of a forward pass"),
    ("tokens_per_s/train_step", "train_step", "latency/train_step", "Tokens per second of training steps"),
)

METRICS: tuple[Metric[Derived, float], ...] = (
    *(
        Metric(
            key=key,
            unit="token/s",
            better="higher",
            workload=workload,
            source=source,
            about=about,
            measure=lambda derived: derived.tokens,
        )
        for key, workload, source, about in RATES
    ),
    Metric(
        key="mfu/train_step",
        unit="ratio",
        better="higher",
        workload="train_step",
        source="latency/train_step",
        needs="peak",
        no_theoretical="a share of the peak is not a cost: FLOPs predict no speed-up",
        about="Model FLOP/s of a training step (causal attention, no recompute) as a share of the machine's measured peak",
        measure=_of_peak(lambda counted: counted.train_step_causal),
    ),
    Metric(
        key="mfu/forward",
        unit="ratio",
        better="higher",
        workload="forward",
        source="latency/forward",
        needs="peak",
        no_theoretical="a share of the peak is not a cost: FLOPs predict no speed-up",
        about="Model FLOP/s of a forward pass (causal attention) as a share of the machine's measured peak",
        measure=_of_peak(lambda counted: counted.forward_causal),
    ),
)
