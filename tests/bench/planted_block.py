"""A dense block called 100 times, or with 3 % more work, 103 times: what `planted_pairs.py` gives to every tool.

    python tests/bench/planted_block.py 100 50   # a whole process: 50 calls of 100 blocks

The block is torch's own, so that no tool has to load more than torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

T, D = 32, 64


def call_of(times: int) -> Callable[..., None]:
    """A call of so many forward passes of one block, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    block = torch.nn.TransformerEncoderLayer(D, 1, 4 * D, dropout=0.0, batch_first=True).eval()
    x_BTD = torch.randn(1, T, D)

    def call(*_number: object) -> None:
        with torch.inference_mode():
            for _ in range(times):
                block(x_BTD)

    return call


if __name__ == "__main__":
    run = call_of(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        run()
