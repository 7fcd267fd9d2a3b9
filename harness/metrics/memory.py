"""Memory: bytes of tensors alive in a training step and what they are, their mark in RSS, the largest input that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modbench.harness.core.contracts import Metric, Pass, Workload
from modbench.harness.core.errors import Unmeasured

# Every `measure` is given a `Weighed` (harness/passes/memory.py); naming it here would load torch.


def _peak(weighed: Any) -> float:  # noqa: ANN401  # as above
    return float(weighed.peak.peak)


def _reserved(weighed: Any) -> float:  # noqa: ANN401  # as above
    if weighed.peak.reserved is None:
        raise Unmeasured("only a CUDA allocator reserves: on a CPU there is nothing to read")
    return float(weighed.peak.reserved)


def _activations(weighed: Any) -> float:  # noqa: ANN401  # as above
    if weighed.peak.saved is None:
        raise Unmeasured("in a compiled step nobody sees where the forward pass ends")
    return float(weighed.peak.saved)


def _rss(subject: Any) -> float:  # noqa: ANN401  # a Subject, in a cold process
    from modbench.harness.memory.rss_mark import high_water

    return high_water(subject)


def _kv_cache(weighed: Any) -> float:  # noqa: ANN401  # as above
    """Bytes allocated for keys and values after the context, with room for the tokens to come."""
    _, cache = weighed.subject.prefilled(weighed.subject.inputs(0, 1)[0])
    return float(cache.nbytes)


ROWS: tuple[tuple[str, Pass, Workload, Callable[[Any], float], str], ...] = (
    (
        "memory/peak_allocated",
        "memory",
        "train_step",
        _peak,
        "Most bytes of tensors alive during a training step: parameters, gradients, AdamW moments, activations",
    ),
    (
        "memory/peak_reserved",
        "memory",
        "train_step",
        _reserved,
        "Most bytes that CUDA's allocator held during a training step, gaps included",
    ),
    (
        "memory/parameters",
        "memory",
        "train_step",
        lambda weighed: weighed.parameters,
        "Bytes of parameters, tied ones once",
    ),
    (
        "memory/gradients",
        "memory",
        "train_step",
        lambda weighed: weighed.gradients,
        "Bytes of gradients after a backward pass",
    ),
    (
        "memory/optimizer",
        "memory",
        "train_step",
        lambda weighed: weighed.optimizer,
        "Bytes of the optimizer's state: AdamW's two moments",
    ),
    (
        "memory/activations",
        "memory",
        "train_step",
        _activations,
        "Bytes that a training step's forward pass leaves for its backward pass",
    ),
    (
        "memory/rss_peak",
        "rss",
        "train_step",
        _rss,
        "The same peak as the operating system sees it: RSS high-water mark of a step in a cold process, as tensors",
    ),
    (
        "memory/kv_cache",
        "memory",
        "decode",
        _kv_cache,
        "Bytes of keys and values after a context of the grid's length; a routed block keeps none of who skipped",
    ),
)

METRICS = (
    *(
        Metric(key=key, unit="B", better="lower", made_in=made_in, workload=workload, about=about, measure=measure)
        for key, made_in, workload, measure, about in ROWS
    ),
    Metric(
        key="memory/largest_seq_len",
        unit="token",
        better="higher",
        made_in="fit",
        workload="train_step",
        about="Longest sequence whose training step fits the memory budget, found by trying",
        measure=lambda search: search("seq_len"),
    ),
    Metric(
        key="memory/largest_batch",
        unit="count",
        better="higher",
        made_in="fit",
        workload="train_step",
        about="Largest batch whose training step fits the memory budget, found by trying",
        measure=lambda search: search("batch_size"),
    ),
)
