"""Warnings about the work: whether a model computes what it claims, and what was counted."""

from __future__ import annotations

from modbench.harness.core.contracts import GENERATION
from modbench.harness.core.labels import Label
from modbench.harness.core.units import about
from modbench.harness.domain.evidence import Evidence, warning
from modbench.harness.domain.notes import TimeNotes, TrainNotes

# Share of what forward and backward should run in a training step. Products with detached inputs save some of the backward pass.
LEAST_SHARE = 0.6
# Share of the forward pass alone, counted on the same tokens: only a gate that draws random numbers moves it a little.
LEAST_FORWARD = 0.92
# Modules that are named.
MOST = 3


@warning("Gather the selected tokens before the block; a mask saves no work.", Label.MASKS_COMPUTE)
def masks_compute(evidence: Evidence) -> str | None:
    """A module computed tokens that it claims to skip, and discarded the results."""
    masked = [claim for claim in evidence.counted.claims if claim.masked]
    return masked[0].said if masked else None


@warning("The times are those of a cache look-up: switch the cache off.", Label.REUSES_OUTPUT)
def reused_output(evidence: Evidence) -> str | None:
    """A call returned an earlier answer instead of computing it."""
    return evidence.counted.reused or next((notes.reused for notes in evidence.notes(TimeNotes) if notes.reused), None)


@warning(
    "The model computes something else in training mode: the FLOPs stated for a training step did not run.",
    Label.IDLE_IN_TRAINING,
)
def idle_in_training(evidence: Evidence) -> str | None:
    """A training step ran fewer FLOPs than the forward pass in evaluation mode implies."""
    forward = evidence.counted.train_forward_share
    if forward is not None and forward < LEAST_FORWARD:
        return f"in training mode the forward pass ran {about(forward)} of the FLOPs that it runs in evaluation mode"
    share = evidence.counted.trained_share
    if share is None or share >= LEAST_SHARE:
        return None
    return f"a training step ran {about(share)} of the FLOPs that its forward pass implies"


@warning("Measure all variants in that format: `dtype` in the suite's grid.", Label.OTHER_PRECISION)
def other_precision(evidence: Evidence) -> str | None:
    """Products were computed in a narrower number format than the case's: fewer digits are faster, and another result."""
    return evidence.counted.other_precision


@warning(
    "Its loss is not comparable with a causal one: `loss/val_causal` is, where the model can route without the future.",
    Label.NOT_AUTOREGRESSIVE,
)
def reads_future(evidence: Evidence) -> str | None:
    """Logits changed when later tokens were changed: the model is not usable for generation.

    A user's model that does not decode as its forward pass computes has no cell of generation, and the validity check's
    finding about `loss/val_causal` is that of the routing by which it was measured.
    """
    causal_loss = evidence.metric.key == "loss/val_causal"
    if evidence.metric.workload in GENERATION or (causal_loss and not evidence.case.is_user_model):
        return None
    counted = None if causal_loss else evidence.counted.causality
    found = [counted, *(notes.causality for notes in evidence.notes(TrainNotes))]
    moved = [each.change or 0.0 for each in found if each is not None and each.reads_future]
    if not moved:
        return None if causal_loss else evidence.audited.get(Label.NOT_AUTOREGRESSIVE)
    return f"earlier log-probabilities moved by up to {max(moved):.2g} nats when later tokens changed"


@warning(
    "If it should change what is computed, the setting does not reach the model. If it only changes how, as a chunk size "
    "does, compare times and memory alone.",
    Label.SAME,
)
def same_as_another(evidence: Evidence) -> str | None:
    """Another setting of the model gives the same FLOPs, parameters and losses, bit for bit."""
    for variant, keys in evidence.same_as.items():
        return f"FLOPs, parameters and losses equal those of {variant}, bit for bit; {', '.join(keys)} differs"
    return None


@warning(
    "No theoretical speed-up, and no share of a theoretical speed-up, is computed from a lower bound.",
    Label.LOWER_BOUND,
)
def lower_bound(evidence: Evidence) -> str | None:
    """Not all FLOPs were counted: an operator ran for which there is no formula."""
    if evidence.metric.unit != "FLOP" and not evidence.metric.needs:
        return None
    names = evidence.counted.operators.unknown if evidence.counted.operators else {}
    return f"no formula for {', '.join(f'{name} ({n} calls)' for name, n in names.items())}" if names else None


@warning(
    "Fix the cause: it is unknown whether it skips what it claims, computes every call and reads only earlier tokens.",
    Label.UNCHECKED,
)
def unchecked(evidence: Evidence) -> str | None:
    """A validity check could not run: what it would have found is unknown."""
    reasons = [evidence.counted.guards] if evidence.counted.guards else []
    causality = evidence.counted.causality
    if causality is not None and causality.reads_future is None and causality.tried:
        reasons.append(f"whether it reads later tokens: {causality.reason}")
    unseen = [claim.module or "the model" for claim in evidence.counted.claims if claim.rows is None]
    if unseen:
        reasons.append(
            f"whether {', '.join(unseen[:MOST])} skipped what is claimed: products of its weights were not seen"
        )
    if evidence.counted.training_unchecked and evidence.metric.workload in {"train_step", "train"}:
        reasons.append(f"whether training mode computes less: {evidence.counted.training_unchecked}")
    reasons += [notes.unchecked for notes in evidence.notes(TimeNotes) if notes.unchecked]
    return "; ".join(dict.fromkeys(reasons)) or None
