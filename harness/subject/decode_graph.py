"""A decode step as a CUDA graph: captured once with fixed shapes, replayed for every token with one launch."""

from __future__ import annotations

import torch
from torch import Tensor

from modbench.harness.core.language_model import DecodeCache, LanguageModel
from modbench.harness.timing.cuda_graph import capture


class Replay:
    """`model.decode_step` on one cache, captured.

    The graph writes the cache's device state (lengths, positions, keys, values) in place; the host's copy of the positions
    is advanced here. The cache is rewound after the warm-up.

    Args:
        model: a catalogue model whose decode policy has fixed shapes.
        cache: its cache, after prefill.
    """

    def __init__(self, model: LanguageModel, cache: DecodeCache) -> None:
        self.cache = cache
        self.tokens_B = torch.zeros_like(cache.position_B)
        mark = cache.mark(windows=False)
        self.logits_BV: Tensor
        with torch.no_grad():
            self.graph, self.logits_BV = capture(
                lambda: model.decode_step(self.tokens_B, cache), lambda: cache.rewind(mark)
            )
        cache.rewind(mark)

    def __call__(self, tokens_B: Tensor) -> Tensor:
        """Logits [B, V] of one step, in the same memory at every call."""
        self.tokens_B.copy_(tokens_B)
        self.graph.replay()
        self.cache.advance()
        return self.logits_BV
