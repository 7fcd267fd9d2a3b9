"""Memory: bytes of live tensors in a training step by kind, and their high-water mark in RSS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric, Workload
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.units import Range
from modbench.harness.measure.metrics.latency import generation

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.measure.passes.memory import Weighed

ONE_STEP = "the peak of one training step, not sampled: no interval"
# A model that is trained has parameters.
SOME_BYTES = Range(0, 1e18, above=True)


def _reserved(weighed: Weighed) -> float:
    if weighed.peak.reserved is None:
        raise Unmeasured("only a CUDA allocator reserves memory: there is nothing to read on a CPU")
    return weighed.peak.reserved


def _activations(weighed: Weighed) -> float:
    if weighed.peak.saved is None:
        raise Unmeasured("in a compiled step the end of the forward pass cannot be observed")
    return weighed.peak.saved


def _rss(subject: Subject) -> float:
    from modbench.harness.measure.passes.rss import high_water

    return high_water(subject)


def _kv_cache(weighed: Weighed) -> float:
    """Bytes allocated for keys and values after the context, with room for the tokens to come."""
    from modbench.harness.call.subject.check_decoding import kept_bytes

    _, cache = generation(weighed.subject).prefilled(weighed.subject.inputs(0, 1)[0])
    return kept_bytes(weighed.subject, cache)


ROWS: tuple[tuple[str, Workload, Callable[[Weighed], float], str], ...] = (
    (
        "memory/parameters",
        "train_step",
        lambda weighed: weighed.parameters,
        "Bytes of parameters, tied ones counted once",
    ),
    (
        "memory/gradients",
        "train_step",
        lambda weighed: weighed.gradients,
        "Bytes of gradients after a backward pass",
    ),
    (
        "memory/optimizer",
        "train_step",
        lambda weighed: weighed.optimizer,
        "Bytes of the optimizer's state: AdamW's two moments",
    ),
    (
        "memory/kv_cache",
        "decode",
        _kv_cache,
        "Bytes of keys and values after a context of the grid's length; a routed block keeps none of tokens that skip it",
    ),
)
PEAKS: tuple[tuple[str, Callable[[Weighed], float], str], ...] = (
    (
        "memory/peak_allocated",
        lambda weighed: weighed.peak.peak,
        "Most bytes of live tensors during a training step: parameters, gradients, AdamW moments, activations",
    ),
    (
        "memory/peak_reserved",
        _reserved,
        "Most bytes that CUDA's allocator held during a training step, gaps included",
    ),
    (
        "memory/activations",
        _activations,
        "Bytes that a training step's forward pass keeps for its backward pass",
    ),
)

OF_TENSORS: tuple[Metric[Weighed, float], ...] = (
    *(
        Metric(
            key=key,
            unit="B",
            better="lower",
            measured_by="memory",
            workload="train_step",
            about=about,
            measure=measure,
            statistic="peak",
            no_interval=ONE_STEP,
            range=None if key == "memory/activations" else SOME_BYTES,
        )
        for key, measure, about in PEAKS
    ),
    *(
        Metric(
            key=key,
            unit="B",
            better="lower",
            measured_by="memory",
            workload=workload,
            about=about,
            measure=measure,
            range=SOME_BYTES if key == "memory/parameters" else None,
        )
        for key, workload, measure, about in ROWS
    ),
)
OF_RSS: tuple[Metric[Subject, float], ...] = (
    Metric(
        key="memory/rss_peak",
        unit="B",
        better="lower",
        measured_by="rss",
        workload="train_step",
        about="Peak as the operating system sees it: RSS high-water mark of a training step in a fresh interpreter",
        measure=_rss,
        statistic="peak",
        no_interval=ONE_STEP,
        range=SOME_BYTES,
    ),
)
METRICS = (*OF_TENSORS, *OF_RSS)
