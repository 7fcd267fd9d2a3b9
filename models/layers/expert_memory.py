"""Closed-form memory of layers of experts: those that choose tokens, tokens that choose, and shared ones. See `memory.py`."""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.memory_ledger import FLOAT32, INT64, Amount, Layer
from modbench.models.layers.memory import highest, norm, norm_back
from modbench.models.layers.null_choices import NullChoices


def experts(config: ModelConfig, tokens: float, assigned: float, *, choices: int, residual: bool = True) -> Layer:
    """Norm, router over all tokens, MLPs over the assigned ones, their weighted sum; shared experts over all tokens; residual.

    Args:
        config: shape.
        tokens: tokens of the input.
        assigned: tokens of all experts together.
        choices: experts that the router scores, no-ops included.
        residual: whether the new stream is kept.
    """
    d, f, e = config.d_model, config.expert_width, config.n_experts
    gated = config.activation == "swiglu"
    scores = Amount(0, FLOAT32 * choices)
    requested = Amount()
    if config.choice == "token":
        # Which token requests which expert, the probabilities, and the copies of the balance loss.
        requested = Amount(0, exact=FLOAT32 * 2 * e + choices + e)
    each = Amount((4 if gated else 2) * f + 3 * d, exact=2 * INT64 + 2 * FLOAT32)
    stream = norm(config) + scores + requested + Amount(d * residual)
    weights = Amount(e * (3 if gated else 2) * d * f)
    return _with_shared(
        config,
        tokens,
        stream * tokens + each * assigned,
        weights.elements + d * choices + config.norm_params,
        back=(
            Amount((2 if gated else 1) * f - d) * assigned + Amount(e * d * f),  # at the activation
            Amount((-3 if gated else -1) * f) * assigned + weights,  # when all weights have their gradients
        ),
        at_norm=norm_back(config) * tokens - each * assigned + weights,
        forward=Amount(2 * d) * tokens + Amount(d + max(3 * f if gated else 0, 2 * f + d)) * assigned,
    )


def _with_shared(
    config: ModelConfig,
    tokens: float,
    saved: Amount,
    params: float,
    *,
    back: tuple[Amount, ...],
    at_norm: Amount,
    forward: Amount,
) -> Layer:
    """A layer of experts, and the shared ones over all tokens.

    They are one MLP, computed last: its backward pass comes first, and its gradient of the input waits for that of the others.

    Args:
        config: shape.
        tokens: tokens of the input.
        saved: what the layer saves without shared experts.
        params: its parameters without them.
        back: moments of its backward pass before the norm's, without them.
        at_norm: that of the norm.
        forward: peak of its forward pass without them.
    """
    d, s, gated = config.d_model, config.shared_experts * config.expert_width, config.activation == "swiglu"
    hidden, shared = Amount((4 if gated else 2) * s) * tokens, Amount((3 if gated else 2) * d * s)
    later = shared - hidden
    return Layer(
        saved + hidden,
        params + shared.elements,
        back=highest(
            Amount((2 if gated else 1) * s) * tokens + Amount(d * s),  # at the activation of shared experts
            *(moment + later + Amount(d * (s > 0)) * tokens for moment in back),
            at_norm + later,
        ),
        forward=highest(forward, Amount((3 * d + (3 if gated else 2) * s) * (s > 0)) * tokens),
        output=Amount(d) * tokens,
    )


def token_choice(
    config: ModelConfig, tokens: float, pairs: float, nulls: NullChoices, *, residual: bool = True
) -> Layer:
    """Norm, router over all tokens, MLPs over the pairs of a token and an expert, no-ops, their weighted sum, residual.

    Args:
        config: shape.
        tokens: tokens of the input.
        pairs: tokens of all experts together.
        nulls: the no-ops beside the experts.
        residual: whether the new stream is kept.
    """
    d, f, e, c = config.d_model, config.expert_width, config.n_experts, nulls.constants
    gated = config.activation == "swiglu"
    choices = e + nulls.columns
    # Probabilities and which are taken; of a constant its two shares, weighted and not, its weight and their sum.
    scores = Amount(0, exact=FLOAT32 * choices + choices + FLOAT32 * (6 * c + 1) * (c > 0))
    hidden = Amount((4 if gated else 2) * f)
    each = hidden + Amount(3 * d, exact=2 * INT64 + 2 * FLOAT32)
    stream = norm(config) + scores + Amount(d * residual)
    weights = Amount(e * (3 if gated else 2) * d * f)
    return _with_shared(
        config,
        tokens,
        stream * tokens + each * pairs,
        weights.elements + d * (e + nulls.logits + 3 * c) + config.norm_params,
        back=(
            Amount((2 if gated else 1) * f) * (pairs / e) + Amount(d * f),  # at the activation of the first expert
            weights + Amount(e * d * f) - (hidden + Amount(2 * d)) * pairs,  # when gradients of experts are stacked
        ),
        at_norm=norm_back(config) * tokens - each * pairs + weights,
        forward=Amount(2 * d) * tokens + highest(Amount(3 * d), Amount(2 * d + (3 if gated else 2) * f / e)) * pairs,
    )
