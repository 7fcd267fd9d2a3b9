"""Guard: is a model autoregressive as measured? Later tokens are changed; logits before them must not move.

Done on every model, a user's too, in the very call whose loss is reported. A model that fails is labelled in every output, since
a loss that knows the future is not comparable with one that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Nats by which a log-probability may move by rounding.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.1, torch.float16: 0.02}
# A token with a smaller log-probability is as good as forbidden; how a model forbids it is its own affair.
LEAST = -20.0
# Places where the later tokens begin to differ.
CUTS = 16


@dataclass(frozen=True)
class Causality:
    """What the guard found.

    Attributes:
        reads_future: whether the past's log-probabilities moved when later tokens did; None where it could not be tested.
        change: largest move of an earlier log-probability, in nats.
        at: how many tokens the moved ones had before the change; None where none moved.
        reason: why it could not be tested.
        tried: whether there was anything to test.
    """

    reads_future: bool | None
    change: float | None = None
    at: int | None = None
    reason: str | None = None
    tried: bool = True


def guard(forward: Callable[[Tensor], Tensor], tokens_BT: Tensor, vocab_size: int, seed: int = 0) -> Causality:
    """Perturb future tokens and compare what is said of the past.

    Compared are log-probabilities, so that neither a forbidden token's -1e9 nor the scale of the logits hides a leak. A model
    that draws random numbers draws the same ones at every call.

    Args:
        forward: int64 tokens [B, T] to logits [B, T, V]; called some eighteen times, without gradients.
        tokens_BT: where to start from.
        vocab_size: later tokens are drawn below it.
        seed: of those draws, and of the places.
    """
    t = tokens_BT.shape[1]
    if t < 2:
        return Causality(None, reason="one token has no future", tried=False)
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float32

    def said(x_BT: Tensor) -> Tensor:
        nonlocal dtype
        # The generators are as before after every call, so that the next one draws the same.
        with torch.random.fork_rng([x_BT.device] if x_BT.is_cuda else []), torch.no_grad():
            logits_BTV = forward(x_BT)
        dtype = logits_BTV.dtype
        return logits_BTV.float().log_softmax(-1).clamp(min=LEAST)

    base, again = said(tokens_BT), said(tokens_BT)
    if bool(base.isnan().any()):
        return Causality(None, reason="its logits are not numbers")
    noise = float((again - base).abs().max())
    # The last place is the hardest to hide from; of the others as many as fit.
    places = torch.randperm(t - 1, generator=generator)[: CUTS - 1] + 1
    worst, at = 0.0, None
    for cut in sorted({*places.tolist(), t - 1}):
        changed_BT = tokens_BT.clone()
        step = torch.randint(1, vocab_size, (tokens_BT.shape[0], t - cut), generator=generator).to(tokens_BT.device)
        changed_BT[:, cut:] = (changed_BT[:, cut:] + step) % vocab_size  # every later token becomes another
        moved = float((said(changed_BT)[:, :cut] - base[:, :cut]).abs().max())
        if moved > worst:
            worst, at = moved, cut
    tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
    # A model that is not deterministic moves by itself: only what goes clearly beyond that is the future's doing.
    if worst > max(tolerance, 10 * noise):
        return Causality(True, worst, at)
    if noise > tolerance:
        return Causality(None, worst, reason=f"its answers to the same tokens differ by up to {noise:.2g} nats")
    return Causality(False, worst)
