"""Verdicts of the product beside processes that spin, each in a session of its own.

    python tests/bench/busy_machine.py --tries 15   # mb.compare in one process, on pairs of known ratio
    python tests/bench/busy_machine.py --tries 15 --processes 5   # over five processes
    python tests/bench/busy_machine.py --run        # modbench run: a model of 34 layers against one of 33

Prints a Markdown table for docs/method-load.md, or the short answer of the run.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from torch import Tensor, nn


class Stack(nn.Module):
    """A language model of equal layers without attention."""

    def __init__(self, vocab: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab, width), nn.Linear(width, vocab, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(layers)
        )

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embed(tokens_BT)
        for layer in self.layers:
            x_BTD = x_BTD + layer(x_BTD)
        logits_BTV: Tensor = self.head(x_BTD)
        return logits_BTV


def build(config: object, layers: int = 33) -> Stack:
    """Build the model, for `--model busy_machine.py:build(layers=34)`."""
    return Stack(config.vocab_size, config.d_model, layers)  # type: ignore[attr-defined]  # a ModelConfig


def run() -> None:
    """Run both models at standard effort."""
    models = [f"--model={Path(__file__).resolve()}:build(layers={layers})" for layers in (33, 34)]
    settings = [
        "--seq-len=128",
        "--set=metrics=latency/forward",
        "--set=d_model=128",
        "--effort=standard",
        "--only",
        "--match=none",
    ]
    subprocess.run([sys.executable, "-m", "modbench", "run", "quick", *models, *settings], check=True)


def compare(tries: int, processes: int) -> None:
    """Compare a block called 100 times with itself, and with 105 and 110 calls, again and again."""
    import torch
    from planted_block import call_of

    import modbench as mb

    print("| calls | verdicts | seconds each |\n| --- | --- | --- |")
    said, start = {calls: Counter[str]() for calls in (100, 105, 110)}, time.monotonic()
    for _, calls in itertools.product(range(tries), said):
        models = {"base": call_of(100), "other": call_of(calls)}
        found = mb.compare(models, torch.zeros(1), processes=processes)["other"]
        said[calls][f"{found.verdict}{' by CPU time' * ('by CPU time' in found.labels)}"] += 1
    each_s = (time.monotonic() - start) / tries / len(said)
    for calls, words in said.items():
        counted = ", ".join(f"*{word}* in {n}" for word, n in words.most_common())
        print(f"| 100 against {calls} | {counted} | {each_s:.0f} |", flush=True)


def main() -> None:
    """Start the load, and measure beside it."""
    from load import load

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=int, default=8, help="processes that spin")
    parser.add_argument("--tries", type=int, default=15)
    parser.add_argument("--processes", type=int, default=1, help="processes of a comparison")
    parser.add_argument("--run", action="store_true", help="make the run instead")
    asked = parser.parse_args()
    with load(asked.load):
        run() if asked.run else compare(asked.tries, asked.processes)


if __name__ == "__main__":
    main()
