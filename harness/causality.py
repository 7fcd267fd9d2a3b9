"""Guard: is a model autoregressive as measured? Later tokens are changed; logits before them must not move.

Done on every model, a user's too, in the very call whose loss is reported. A model that fails is labelled in every output, since
a loss that knows the future is not comparable with one that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Change of a logit, as a share of the logits' standard deviation, above which it is no rounding.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.05, torch.float16: 0.01}
# Where the changes start, as shares of the sequence; each is tried with two sets of later tokens.
CUTS = (0.25, 0.5, 1.0)
TRIALS = 2


@dataclass(frozen=True)
class Causality:
    """What the guard found.

    Attributes:
        reads_future: whether logits moved when later tokens did; None where it could not be tested.
        change: largest move of an earlier logit, in standard deviations of the logits.
        at: how many tokens the moved logits had before the change; None where none moved.
        reason: why it could not be tested.
    """

    reads_future: bool | None
    change: float | None = None
    at: int | None = None
    reason: str | None = None


def guard(forward: Callable[[Tensor], Tensor], tokens_BT: Tensor, vocab_size: int, seed: int = 0) -> Causality:
    """Perturb future tokens and compare logits.

    Args:
        forward: int64 tokens [B, T] to logits [B, T, V]; called some eight times, without gradients.
        tokens_BT: where to start from.
        vocab_size: later tokens are drawn below it.
        seed: of those draws.
    """
    t = tokens_BT.shape[1]
    if t < 2:
        return Causality(None, reason="one token has no future")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        base, again = forward(tokens_BT), forward(tokens_BT)
        if not bool(base.isfinite().all()):
            return Causality(None, reason="its logits are not finite")
        scale = float(base.float().std()) or 1.0
        # A model that is not deterministic moves by itself: only what goes clearly beyond that is the future's doing.
        noise = float((again - base).abs().max()) / scale
        limit = max(TOLERANCE.get(base.dtype, 1e-4), 10 * noise)
        worst, at = 0.0, None
        for cut in sorted({min(t - 1, max(1, round(share * t))) for share in CUTS}):
            for _ in range(TRIALS):
                changed_BT = tokens_BT.clone()
                later = torch.randint(vocab_size, (tokens_BT.shape[0], t - cut), generator=generator)
                changed_BT[:, cut:] = later.to(tokens_BT.device)
                moved = float((forward(changed_BT)[:, :cut] - base[:, :cut]).abs().max()) / scale
                if moved > worst:
                    worst, at = moved, cut
    return Causality(worst > limit, worst, at if worst > limit else None)
