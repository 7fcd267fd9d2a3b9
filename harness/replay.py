"""A decode step as a CUDA graph: captured once with fixed shapes, replayed for every token with one launch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3


class Replay:
    """`model.decode_step` on one cache, captured.

    The cache's device state (lengths, positions, keys, values) is written in place by the graph; what the host counts
    is advanced here. Warm-up steps run on a side stream, as torch asks; the cache is rewound afterwards.

    Args:
        module: a catalogue model whose decode policy has fixed shapes.
        cache: its cache, after prefill.
    """

    def __init__(self, module: nn.Module, cache: Any) -> None:  # noqa: ANN401  # the model's own cache
        self.cache = cache
        self.tokens_B = torch.zeros_like(cache.position_B)
        mark = cache.mark(windows=False)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        step: Any = module.decode_step
        with torch.no_grad(), torch.cuda.stream(side):
            for _ in range(WARM_UP):
                cache.rewind(mark)
                step(self.tokens_B, cache)
        torch.cuda.current_stream().wait_stream(side)
        cache.rewind(mark)
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph):
            self.logits_BV: Tensor = step(self.tokens_B, cache)
        cache.rewind(mark)

    def __call__(self, tokens_B: Tensor) -> Tensor:
        """Logits [B, V] of one step; the same memory at every call."""
        self.tokens_B.copy_(tokens_B)
        self.graph.replay()
        self.cache.advance()
        return self.logits_BV
