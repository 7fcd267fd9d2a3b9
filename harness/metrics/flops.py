"""FLOPs: the closed form, held against torch's counter (a user's model: the counter alone), under named conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modbench.harness.core.contracts import Metric


def _under(convention: str) -> Callable[[Any], float]:
    def read(counted: Any) -> float:  # noqa: ANN401  # a Counted; naming it would load torch
        return float(counted[convention])

    return read


METRICS = tuple(
    Metric(
        key=key,
        unit="FLOP",
        better="lower",
        made_in="count",
        workload="train_step" if key.startswith("flops/train_step") else "forward",
        about=about,
        measure=_under(convention),
    )
    for key, convention, about in (
        (
            "flops/forward",
            "forward",
            "FLOPs of one forward pass: 2 per multiply-add, full-square attention, head included",
        ),
        ("flops/forward/causal", "forward_causal", "The same with attention over the lower triangle alone"),
        ("flops/forward/headless", "forward_headless", "The same with full-square attention and no head"),
        (
            "flops/forward/nominal",
            "forward_nominal",
            "What the capacity asks for, whatever an input made of it; equal for fixed top-k",
        ),
        (
            "flops/forward/executed",
            "forward_executed",
            "What kernels did on real tensors at this place, hidden halves of attention included",
        ),
        (
            "flops/train_step",
            "train_step",
            "FLOPs of forward and backward, backward counted as twice forward; the optimizer counts 0",
        ),
        ("flops/train_step/causal", "train_step_causal", "The same with attention over the lower triangle alone"),
        (
            "flops/train_step/hardware",
            "train_step_hardware",
            "What kernels do in a training step: fused attention computes its scores again",
        ),
    )
)
