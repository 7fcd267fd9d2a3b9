"""Does a verdict depend on an arm's neighbours? A true +3 % alone, and beside seven arms equal to the anchor.

    python tests/bench/families.py

All arms share their anchor, so pairs depend on each other. Prints a Markdown table for docs/method-verdicts.md.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace

from simulate import World, pairs, words

SIZES = ((3, 20), (5, 8), (10, 6))


def told_apart(world: World, neighbours: int, repeats: int, seed: int = 0) -> tuple[float, float, float]:
    """Share of runs that tell a true +3 % apart, share that call it worse, and the false discovery rate."""
    rng = random.Random(seed)
    told = worse = 0
    false_shares = []
    for _ in range(repeats):
        said = words(pairs(world, [1.03, *[1.0] * neighbours], rng))
        claims = [word in {"better", "worse", "different"} for word in said]
        told += claims[0]
        worse += said[0] == "worse"
        false_shares.append(sum(claims[1:]) / max(1, sum(claims)))
    return told / repeats, worse / repeats, sum(false_shares) / repeats


def main() -> None:
    """Print shares by allocation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    print(
        "| launches x rounds, launch sd 0.5 % | told apart alone | beside seven equal | worse alone / beside | false |"
    )
    print("| --- | --- | --- | --- | --- |")
    for launches, rounds in SIZES:
        world = replace(World(), launches=launches, rounds=rounds)
        alone, beside = told_apart(world, 0, repeats), told_apart(world, 7, repeats)
        print(
            f"| {launches} x {rounds} | {alone[0]:.2f} | {beside[0]:.2f} | {alone[1]:.2f} / {beside[1]:.2f} | {beside[2]:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
