"""3 % more work, planted: is it detected where the printed minimum detectable effect promises it?

    python tests/bench/planted_work.py --comparisons 60 --launches 10 --load 0

One arm multiplies two matrices 100 times and the other 103 times. Every launch is a process of its own; session,
witnesses and statistics are the product's.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from statistics import median

import load
import torch

from modbench.harness.stats import paired, verdicts
from modbench.harness.stats.effects import Effect, share_interval
from modbench.harness.timing.interleave import Call

LESS, MORE = 100, 103
MARGIN = 0.02


def launch(seed: int, rounds: int) -> paired.LaunchSamples:
    """One process that interleaves the arm with more work and the one with less."""
    torch.set_num_threads(1)
    a = torch.randn(96, 96, generator=torch.Generator().manual_seed(seed))

    def arm(times: int) -> Call:
        def call(_number: int) -> None:
            for _ in range(times):
                torch.mm(a, a)

        return call

    return load.launch(arm(LESS), arm(MORE), rounds, warm_up_s=0.15)


def _effects(pairs: list[paired.Paired]) -> Iterator[tuple[str, list[Effect]]]:
    yield "wall", [pair.effect for pair in pairs]
    yield "CPU time", [pair.cpu for pair in pairs if pair.cpu is not None]


def _power(effects: list[Effect], most: float, seen: Callable[[Effect], bool]) -> str:
    """How many of the comparisons whose printed MDE is at most `most` are detected, in words."""
    counted = [effect for effect in effects if effect.mde is not None and effect.mde <= most]
    if not counted:
        return "no such comparison"
    hits = sum(map(seen, counted))
    low, high = share_interval(hits, len(counted))
    return f"{hits} of {len(counted)} ({hits / len(counted):.0%}, {100 * low:.0f}–{100 * high:.0f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=60)
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--load", type=int, default=0, help="processes of the load generator")
    options = parser.parse_args()
    pairs, wall_s, cpu_s = [], 0.0, 0.0
    with load.load(options.load):
        for comparison in range(options.comparisons):
            seeds = range(comparison * options.launches, (comparison + 1) * options.launches)
            launches = [load.in_a_fresh_process(launch, seed, options.rounds) for seed in seeds]
            pairs.append(paired.compare(launches, one_thread=True))
            for columns in (side for each in launches for side in (each.case, each.anchor) if side is not None):
                wall_s += sum(columns["wall_s"])
                cpu_s += sum(columns["cpu_s"])
            print(f"\r{comparison + 1} of {options.comparisons}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(
        "| clock | median MDE | excludes 1 where MDE <= 3 % | *worse* where MDE <= 1 % (margin 2 %) | time, more / less |"
    )
    print("| --- | --- | --- | --- | --- |")
    for clock, effects in _effects(pairs):
        took = math.exp(-median(effect.value for effect in effects))
        mde = median(effect.mde or 0.0 for effect in effects)
        seen = _power(effects, 0.03, load.excludes_none)
        worse = _power(effects, 0.01, lambda effect: verdicts.verdict(effect, MARGIN) == "worse")
        print(f"| {clock} | {mde:.2%} | {seen} | {worse} | {took:.4f} |")
    print(f"\n{options.comparisons} comparisons of {options.launches} launches x {options.rounds} rounds, "
          f"{options.load} processes of load beside {cpu_s / wall_s:.0%} of a core")  # fmt: skip


if __name__ == "__main__":
    main()
