"""Routers: how well the causal rule predicts the top-k, and how many tokens pass; measured after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.units import SHARE

if TYPE_CHECKING:
    from modbench.harness.training.training_run import Trained

# Capacity and data decide how many tokens pass, and a constant answer reaches the base rate: neither direction is better.
NO_DIRECTION = {"participation", "participation_causal", "real_share", "base_rate"}
NO_ROUTER = "this model has no token router"
NO_CHOICE = "its tokens do not choose among experts and no-ops"
NO_CAUSAL_RULE = "its routers have no causal rule, or do not report its decisions"


def _read(name: str) -> Callable[[Trained], float]:
    def measure(trained: Trained) -> float:
        if trained.routing is None:
            raise Unmeasured(trained.routing_reason)
        value = trained.routing.get(name)
        if value is None:
            routed = trained.routing.get("participation") is not None
            reason = NO_CHOICE if name == "real_share" else NO_CAUSAL_RULE
            raise Unmeasured(reason if routed else NO_ROUTER)
        return float(value)

    return measure


METRICS: tuple[Metric[Trained, float], ...] = tuple(
    Metric(
        key=f"router/{key}",
        unit="ratio",
        better="neither" if key in NO_DIRECTION else "higher",
        measured_by="train",
        workload="train",
        about=about,
        measure=_read(name),
        scored_as="difference",
        range=SHARE,
    )
    for key, name, about in (
        ("participation", "participation", "Share of tokens that a routed block processes, by top-k"),
        (
            "participation_causal",
            "participation_causal",
            "Share of tokens that a routed block processes, by the causal rule",
        ),
        (
            "real_share",
            "real_share",
            "Share of the tokens' choices that reach a real expert and no no-op, on held-out text",
        ),
        (
            "balanced_accuracy",
            "predictor_balanced_accuracy",
            "Causal rule compared with top-k: mean recall of the two classes",
        ),
        ("precision", "predictor_precision", "Of the tokens that the causal rule lets pass, the share in the top-k"),
        ("recall", "predictor_recall", "Of the tokens in the top-k, the share that the causal rule lets pass"),
        ("f1", "predictor_f1", "Harmonic mean of precision and recall"),
        (
            "accuracy",
            "predictor_accuracy",
            "Share of tokens on which causal rule and top-k agree: compare with the base rate",
        ),
        ("base_rate", "predictor_base_rate", "Accuracy of a rule that lets all tokens pass, or none"),
    )
)
