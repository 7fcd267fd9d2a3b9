"""Memory: bytes of live tensors in a training step by kind, and their high-water mark in RSS."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.units import Range
from modbench.harness.measure.metrics.latency import generation

if TYPE_CHECKING:
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


def _kv_cache(weighed: Weighed) -> float:
    """Bytes allocated for keys and values after the context, with room for the tokens to come."""
    from modbench.harness.call.subject.check_decoding import kept_bytes

    _, cache = generation(weighed.subject).prefilled(weighed.subject.inputs(0, 1)[0])
    return kept_bytes(weighed.subject, cache)


_bytes = partial(Metric[Any, Any], unit="B", better="lower", measured_by="memory", workload="train_step")
_peak = partial(_bytes, statistic="peak", no_interval=ONE_STEP)

METRICS: tuple[Metric[Any, float], ...] = (
    _peak(
        key="memory/peak_allocated",
        about="Most bytes of live tensors during a training step: parameters, gradients, AdamW moments, activations",
        measure=lambda weighed: weighed.peak.peak,
        range=SOME_BYTES,
    ),
    _peak(
        key="memory/peak_reserved",
        about="Most bytes that CUDA's allocator held during a training step, gaps included",
        measure=_reserved,
        range=SOME_BYTES,
    ),
    _peak(
        key="memory/activations",
        about="Bytes that a training step's forward pass keeps for its backward pass",
        measure=_activations,
    ),
    _bytes(
        key="memory/parameters",
        about="Bytes of parameters, tied ones counted once",
        measure=lambda weighed: weighed.parameters,
        range=SOME_BYTES,
    ),
    _bytes(
        key="memory/gradients",
        about="Bytes of gradients after a backward pass",
        measure=lambda weighed: weighed.gradients,
    ),
    _bytes(
        key="memory/optimizer",
        about="Bytes of the optimizer's state: AdamW's two moments",
        measure=lambda weighed: weighed.optimizer,
    ),
    _bytes(
        key="memory/kv_cache",
        workload="decode",
        about="Bytes of keys and values after a context of the grid's length; a routed block keeps none of tokens that skip it",
        measure=_kv_cache,
    ),
)
