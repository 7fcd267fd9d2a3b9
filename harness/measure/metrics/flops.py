"""FLOPs: the closed form, checked against torch's counter (a user's model: the counter alone), by named conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric

if TYPE_CHECKING:
    from modbench.harness.measure.passes.count import Counted


def _under(convention: str) -> Callable[[Counted], float]:
    return lambda counted: counted[convention]


METRICS: tuple[Metric[Counted, float], ...] = tuple(
    Metric(
        key=key,
        unit="FLOP",
        better="lower",
        measured_by="count",
        workload="train_step" if key.startswith("flops/train_step") else "forward",
        about=about,
        measure=_under(convention),
        on_request=convention == "train_step_hardware",
    )
    for key, convention, about in (
        (
            "flops/forward",
            "forward",
            "FLOPs of one forward pass: 2 per multiply-add, full-square attention, head included",
        ),
        ("flops/forward/causal", "forward_causal", "flops/forward with attention over the lower triangle only"),
        ("flops/forward/headless", "forward_headless", "flops/forward without the head; full-square attention"),
        (
            "flops/forward/nominal",
            "forward_nominal",
            "FLOPs that the capacity asks for, whatever the input; equal to flops/forward for fixed top-k",
        ),
        (
            "flops/forward/executed",
            "forward_executed",
            "FLOPs that kernels executed on real tensors at this grid point, masked halves of attention included",
        ),
        (
            "flops/train_step",
            "train_step",
            "FLOPs of forward and backward, backward counted as twice forward; the optimizer counts 0",
        ),
        (
            "flops/train_step/causal",
            "train_step_causal",
            "flops/train_step with attention over the lower triangle only",
        ),
        (
            "flops/train_step/hardware",
            "train_step_hardware",
            "FLOPs that kernels execute in a training step: fused attention computes its scores again",
        ),
    )
)
