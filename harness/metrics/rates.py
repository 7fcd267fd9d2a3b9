"""Rates derived from times: tokens per second, and the share of the machine's measured peak (MFU)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modbench.harness.core.contracts import Metric, Workload
from modbench.harness.core.errors import Unmeasured


def _tokens(context: Any) -> float:  # noqa: ANN401  # reports' own `Derived`
    return float(context.tokens)


def _of_peak(convention: str) -> Callable[[Any], float]:
    def share(context: Any) -> float:  # noqa: ANN401  # as above
        flops, peak = context.counted(convention), context.peak
        if peak is None:
            raise Unmeasured(context.peak_reason)
        if flops is None or context.uncounted:
            raise Unmeasured("FLOPs were not wholly counted: a share of the peak would be too low")
        return float(flops) / float(peak)

    return share


RATES: tuple[tuple[str, Workload, str, str], ...] = (
    ("tokens_per_s", "decode", "tpot", "Generated tokens of the whole batch per second, after the first"),
    ("tokens_per_s/prefill", "prefill", "latency/prefill", "Prompt tokens read per second"),
    ("tokens_per_s/forward", "forward", "latency/forward", "Tokens per second of a forward pass"),
    ("tokens_per_s/train_step", "train_step", "latency/train_step", "Tokens per second of training steps"),
)

METRICS = (
    *(
        Metric(
            key=key,
            unit="token/s",
            better="higher",
            made_in="derive",
            workload=workload,
            source=source,
            about=about,
            measure=_tokens,
        )
        for key, workload, source, about in RATES
    ),
    Metric(
        key="mfu",
        unit="ratio",
        better="higher",
        made_in="derive",
        workload="train_step",
        source="latency/train_step",
        needs_peak=True,
        about="Model FLOPs of a training step (causal attention, no recompute) per second, over the machine's measured peak",
        measure=_of_peak("train_step_causal"),
    ),
    Metric(
        key="mfu/forward",
        unit="ratio",
        better="higher",
        made_in="derive",
        workload="forward",
        source="latency/forward",
        needs_peak=True,
        about="Model FLOPs of a forward pass (causal attention) per second, over the machine's measured peak",
        measure=_of_peak("forward_causal"),
    ),
)
