"""FLOPs: the closed form, held against torch's counter (a user's model: the counter alone), under named conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric

if TYPE_CHECKING:
    from modbench.harness.passes.count import Counted


def _under(convention: str) -> Callable[[Counted], float]:
    return lambda counted: counted[convention]


METRICS: tuple[Metric[Counted, float], ...] = tuple(
    Metric(
        key=key,
        unit="FLOP",
        better="lower",
        made_in="count",
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
