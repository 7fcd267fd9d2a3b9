"""Memory: bytes of tensors alive, from a storage tracker on the CPU and from the allocator on CUDA."""

from __future__ import annotations

import gc
from typing import Any

from modbench.harness.contracts import Metric
from modbench.harness.errors import Unmeasured


def _peak_allocated(subject: Any) -> float:  # noqa: ANN401  # a Subject; naming it would load torch
    """Peak of the second training step, when the optimizer's state exists: parameters, gradients, moments, activations."""
    if subject.case.place.compile and subject.case.place.device == "cpu":
        raise Unmeasured("a compiled model runs eagerly under the storage tracker, so its own peak cannot be seen")
    tokens_BT = subject.inputs(0, 1)[0]
    subject.train_step(tokens_BT)
    subject.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    return _peak_cuda(subject, tokens_BT) if subject.case.place.device == "cuda" else _peak_cpu(subject, tokens_BT)


def _peak_cpu(subject: Any, tokens_BT: Any) -> float:  # noqa: ANN401  # as above
    from modbench.harness.storage import StorageTracker

    tracker = StorageTracker()
    state = (value for values in subject.optimizer.state.values() for value in values.values())
    tracker.watch((*subject.module.parameters(), *subject.module.buffers(), *state, tokens_BT))
    with tracker:
        subject.train_step(tokens_BT)
    return float(tracker.peak)


def _peak_cuda(subject: Any, tokens_BT: Any) -> float:  # noqa: ANN401  # as above
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    subject.train_step(tokens_BT)
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated())


def _kv_cache(subject: Any) -> float:  # noqa: ANN401  # as above
    """Bytes allocated for keys and values after the context, with room for the tokens to come."""
    _, cache = subject.prefilled(subject.inputs(0, 1)[0])
    return float(cache.nbytes)


METRICS = (
    Metric(
        key="memory/peak_allocated",
        unit="B",
        better="lower",
        made_in="memory",
        workload="train_step",
        about="Most bytes of tensors alive during a training step: parameters, gradients, AdamW moments, activations",
        measure=_peak_allocated,
    ),
    Metric(
        key="memory/kv_cache",
        unit="B",
        better="lower",
        made_in="memory",
        workload="decode",
        about="Bytes of keys and values after a context of the grid's length; a routed block keeps none of who skipped",
        measure=_kv_cache,
    ),
)
