"""Validity check: is a model autoregressive as measured? Later tokens are changed; logits before them must not change.

Every model is tested, a user's too, in the same call whose loss is reported. A model that fails is labelled in every output,
since a loss that depends on later tokens is not comparable with one that does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modbench.harness.domain.notes import Causality

# Nats by which rounding may change a log-probability.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.1, torch.float16: 0.02}
# Smaller log-probabilities count as forbidden tokens, which models implement in different ways.
LEAST = -20.0
# Positions from which on the tokens are changed.
CUTS = 16


def guard(forward: Callable[[Tensor], Tensor], tokens_BT: Tensor, vocab_size: int, seed: int = 0) -> Causality:
    """Change later tokens and compare the predictions before them.

    Log-probabilities are compared, so that neither a forbidden token's -1e9 nor the scale of the logits hides a leak. A model
    that draws random numbers draws the same ones at every call.

    Args:
        forward: int64 tokens [B, T] to logits [B, T, V]; called up to eighteen times, without gradients.
        tokens_BT: the unchanged tokens.
        vocab_size: changed tokens are below it.
        seed: of the changes and their positions.
    """
    t = tokens_BT.shape[1]
    if t < 2:
        return Causality(reads_future=None, reason="a single token has no later token", tried=False)
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float32

    def log_p(x_BT: Tensor) -> Tensor:
        nonlocal dtype
        # The generators are restored after every call, so that the next one draws the same numbers.
        with torch.random.fork_rng([x_BT.device] if x_BT.is_cuda else []), torch.no_grad():
            logits_BTV = forward(x_BT)
        dtype = logits_BTV.dtype
        wide_BTV = logits_BTV if dtype == torch.float64 else logits_BTV.float()
        return wide_BTV.log_softmax(-1).clamp(min=LEAST)

    base, again = log_p(tokens_BT), log_p(tokens_BT)
    if bool(base.isnan().any()):
        return Causality(reads_future=None, reason="its logits are not numbers")
    noise = float((again - base).abs().max())
    # Always the last position, where a leak from any later token shows, and random others.
    grid_points = torch.randperm(t - 1, generator=generator)[: CUTS - 1] + 1
    worst, at = 0.0, None
    for cut in sorted({*grid_points.tolist(), t - 1}):
        changed_BT = tokens_BT.clone()
        step = torch.randint(1, vocab_size, (tokens_BT.shape[0], t - cut), generator=generator).to(tokens_BT.device)
        changed_BT[:, cut:] = (changed_BT[:, cut:] + step) % vocab_size  # every later token becomes another
        moved = float((log_p(changed_BT)[:, :cut] - base[:, :cut]).abs().max())
        if moved > worst:
            worst, at = moved, cut
    tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
    # A non-deterministic model changes by itself: only a clearly larger change is a leak.
    if worst > max(tolerance, 10 * noise):
        return Causality(reads_future=True, change=worst, at=at)
    if noise > tolerance:
        reason = f"its log-probabilities of the same tokens differ by up to {noise:.2g} nats"
        return Causality(reads_future=None, change=worst, reason=reason)
    return Causality(reads_future=False, change=worst)
