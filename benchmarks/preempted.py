"""How many pairs does disturbance leave open where it cannot change the answer? Simulated through the statistics of a report.

    python benchmarks/preempted.py

Samples of all variants wait for a processor at random. Prints a Markdown table for docs/method-verdicts.md.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace

from simulate import World, covered, pairs

SIZES = ((3, 20), (10, 6))


def lost(world: World, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Share of pairs of equal variants that are not called equivalent, and share whose interval misses the truth."""
    rng = random.Random(seed)
    undecided = misses = 0
    for _ in range(repeats):
        found = pairs(world, [1.0], rng)[0]
        undecided += found.verdict != "equivalent"
        misses += not covered(found.effect, 0.0)
    return undecided / repeats, misses / repeats


def main() -> None:
    """Print shares by how many samples are preempted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    print("| samples preempted |", " | ".join(f"{n} x {r}: not equivalent / missed" for n, r in SIZES), "|")
    print("| --- |", " --- |" * len(SIZES))
    for share in (0.05, 0.2, 0.4):
        worlds = (replace(World(), processes=n, rounds=r, preempted=share) for n, r in SIZES)
        found = (lost(world, repeats) for world in worlds)
        print(f"| {share:.0%} |", " | ".join(f"{open_:.1%} / {miss:.1%}" for open_, miss in found), "|", flush=True)


if __name__ == "__main__":
    main()
