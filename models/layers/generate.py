"""Generation: prefill once, then decode token by token, each row at its own position.

Shapes: B batch, T tokens of the longest prompt, N new tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modbench.models.layers.decode_cache import Cache
from modbench.models.layers.decoder import Decoder


@torch.no_grad()
def generate(
    model: Decoder,
    prompts_BT: Tensor,
    n_new: int,
    *,
    lengths_B: Tensor | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Cache]:
    """Continue prompts.

    Args:
        model: a causal model with a causal router (every catalogue model but those of `causal = "none"`).
        prompts_BT: int64, padded on the right.
        n_new: tokens to add to each row.
        lengths_B: real lengths of the prompts; default all T.
        temperature: 0 takes the likeliest token; else tokens are drawn from softmax(logits / temperature).
        generator: random numbers for that.

    Returns:
        New tokens [B, N], and the cache, which has counted the tokens of routed blocks (`participation`, `overflow`).

    Raises:
        ValueError: for a model that cannot generate, and for more tokens than it has positions.
    """
    if temperature < 0 or n_new < 1:
        raise ValueError(f"n_new {n_new} must be at least 1 and temperature {temperature:g} at least 0")
    longest = prompts_BT.shape[-1] if lengths_B is None else int(lengths_B.max())
    model.rotary.check(longest + n_new - 1)
    logits_BV, cache = model.prefill(prompts_BT, lengths_B, max_len=max(prompts_BT.shape[-1], longest + n_new - 1))
    tokens = [_sample(logits_BV, temperature, generator)]
    for _ in range(n_new - 1):
        logits_BV = model.decode(tokens[-1], cache)
        tokens.append(_sample(logits_BV, temperature, generator))
    return torch.stack(tokens, dim=1), cache


def _sample(logits_BV: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return logits_BV.argmax(-1)
    p_BV = (logits_BV.float() / temperature).softmax(-1)
    return torch.multinomial(p_BV, 1, generator=generator)[:, 0]
