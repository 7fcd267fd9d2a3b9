"""Loss: held-out cross-entropy after a short training run; the same tokens in the same order for every variant."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.units import Range

if TYPE_CHECKING:
    from modbench.harness.training.training_run import Trained


_loss = partial(Metric[Any, Any], better="lower", measured_by="train", workload="train", scored_as="difference")


def causal(trained: Trained) -> float:
    """Held-out loss with routers that decide without the future, in nats per token.

    Raises:
        Unmeasured: if the model has no such routers.
    """
    if trained.held_out.causal is None:
        raise Unmeasured(trained.held_out.causal_reason)
    return trained.held_out.causal


METRICS: tuple[Metric[Trained, float], ...] = (
    _loss(
        key="loss/val",
        unit="nat",
        about="Held-out loss per token, routed as in training: top-k routing is non-causal, and labelled so",
        measure=lambda trained: trained.held_out.loss,
        range=Range(0),
    ),
    _loss(
        key="loss/val_causal",
        unit="nat",
        about="Held-out loss per token, with causal routing, as in generation",
        measure=causal,
        range=Range(0),
    ),
    _loss(
        key="loss/gap",
        unit="nat",
        about="Cost of causal routing: loss/val_causal minus loss/val of the same run",
        measure=lambda trained: causal(trained) - trained.held_out.loss,
    ),
    _loss(
        key="bpb/val",
        unit="bit/B",
        about="Held-out loss in bits per byte of text: comparable across tokenizers",
        measure=lambda trained: trained.held_out.loss / math.log(2) * trained.tokens_per_byte,
    ),
)
