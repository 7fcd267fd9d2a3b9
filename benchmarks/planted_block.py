"""A dense block called 100 times, or with 3 % more work, 103 times: what `planted_pairs.py` gives to every tool.

    python benchmarks/planted_block.py 100 50   # a whole process: 50 calls of 100 blocks

The block is torch's own, so that no tool has to load more than torch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

T, D = 32, 64


def call_of(times: int) -> Callable[..., None]:
    """A call of so many forward passes of one block, on one thread; it can be sent to another process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(D, 1, 4 * D, dropout=0.0, batch_first=True).eval()
    return functools.partial(_call, block, torch.randn(1, T, D), times)


def _call(block: nn.Module, x_BTD: Tensor, times: int, *_number: object) -> None:
    with torch.inference_mode():
        for _ in range(times):
            block(x_BTD)


if __name__ == "__main__":
    run = call_of(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        run()
