"""How often `compare --paired` and `gate --paired` tell two revisions apart, by the noise of the machine.

python tests/bench/paired_power.py
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from modbench.commands._paired.measure import ROUNDS
from modbench.commands.compare import BLOCKS
from modbench.harness.stats import aba_blocks, gate_looks

MARGIN = 0.02


class Noise(NamedTuple):
    """Standard deviations of a log time.

    Attributes:
        process: between processes of the same code.
        round: between rounds of a process, besides the machine's.
        machine: of the machine's speed, from one second to the next; all processes of a round share it.
    """

    process: float
    round: float
    machine: float = 0.0


class Found(NamedTuple):
    """Shares of simulated comparisons.

    Attributes:
        told_apart: whose interval excludes no difference.
        covers: whose interval holds the true difference.
        fooled: whose A/A interval excludes no difference.
    """

    told_apart: float
    covers: float
    fooled: float


def simulate(
    random: np.random.Generator,
    noise: Noise,
    *,
    effect: float,
    repeats: int,
    blocks: int = BLOCKS,
    rounds: int = ROUNDS,
) -> Found:
    """Simulate comparisons of two revisions.

    Args:
        random: source of the noise.
        noise: of processes, rounds and the machine.
        effect: true log effect of the second side, above 0 where it is faster.
        repeats: comparisons.
        blocks: blocks of three processes.
        rounds: rounds of each process.
    """
    apart, covers, fooled = 0, 0, 0
    for _ in range(repeats):
        made = []
        for _ in range(blocks):
            times = random.normal(0, noise.process, (3, 1)) + random.normal(0, noise.round, (3, rounds))
            first, second, again = (times + random.normal(0, noise.machine, rounds)).tolist()
            made.append(aba_blocks.block(first, [time - effect for time in second], again))
        found, same = aba_blocks.between(made), aba_blocks.same(made)
        assert found.low is not None
        assert found.high is not None
        assert same.low is not None
        assert same.high is not None
        apart += not found.low <= 0 <= found.high
        covers += found.low <= effect <= found.high
        fooled += not same.low <= 0 <= same.high
    return Found(apart / repeats, covers / repeats, fooled / repeats)


class Gates(NamedTuple):
    """Shares of simulated gates by their exit code, and the blocks that they took.

    Attributes:
        passed: 0.
        worse: 1.
        open: 5.
        blocks: median.
    """

    passed: float
    worse: float
    open: float
    blocks: float


def gates(
    random: np.random.Generator, spread: float, *, slower: float, total: int, repeats: int, cases: int = 1
) -> Gates:
    """Simulate gates of `gate --paired` that look until they know, or have no block left.

    Args:
        random: source of the noise.
        spread: standard deviation of a block's effect, on the log scale.
        slower: how much longer the first case takes in the second revision, as a share.
        total: blocks that the budget holds.
        repeats: gates.
        cases: timed cases; the others did not change.
    """
    looks, edges = gate_looks.schedule(total), [math.log1p(MARGIN)] * cases
    rows = list[tuple[bool, bool, bool, int]]()
    for _ in range(repeats):
        values_CN = random.normal(0, spread, (cases, total))
        values_CN[0] -= math.log1p(slower)
        for number, blocks in enumerate(looks, start=1):
            found = gate_looks.look(values_CN[:, :blocks].tolist(), edges, looks[:number], total)
            words = {each.word for each in found}
            worse, passed = "worse" in words, words == {"pass"}
            if worse or passed or blocks == total:
                rows.append((passed, worse, not (passed or worse), blocks))
                break
    passes, fails, left = (sum(row[i] for row in rows) / repeats for i in range(3))
    return Gates(passes, fails, left, float(np.median([row[3] for row in rows])))


def print_gates(repeats: int) -> None:
    """Print what gates of one, eight and 34 cases say, by the spread of a block and the blocks that the budget holds."""
    heads = ["block sd", "cases", "blocks", "equal: passes", "one case +2%: passes / *worse*"]
    heads += [f"one case +{slower}%: *worse*" for slower in (3, 10)]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    random = np.random.default_rng(0)
    for total, cases in ((100, 1), (100, 8), (100, 34), (30, 1)):
        for spread in (0.015, 0.025):
            equal, edge, three, ten = (
                gates(random, spread, slower=slower, total=total, repeats=repeats, cases=cases)
                for slower in (0.0, MARGIN, 0.03, 0.1)
            )
            cells = [f"{spread:.1%}", str(cases), str(total), f"{equal.passed:.1%} ({equal.blocks:.0f} blocks)"]
            cells.append(f"{edge.passed:.1%} / {edge.worse:.1%}")
            cells += [f"{each.worse:.1%} ({each.blocks:.0f})" for each in (three, ten)]
            print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the tables."""
    print_gates(2000)
    random = np.random.default_rng(0)
    print("blocks  process  rounds   3 % slower told apart  covers  equal told apart  A/A told apart")
    for blocks in (6, BLOCKS, 20):
        for process in (0.005, 0.01, 0.015, 0.02, 0.03):
            for spread in (0.02, 0.05):
                noise = Noise(process, spread, 0.08)
                slow = simulate(random, noise, effect=math.log(1 / 1.03), repeats=2000, blocks=blocks)
                none = simulate(random, noise, effect=0.0, repeats=2000, blocks=blocks)
                print(
                    f"{blocks:6d} {process:8.1%} {spread:7.1%} {slow.told_apart:23.3f} {slow.covers:7.3f} {none.told_apart:17.3f}"
                    f" {none.fooled:15.3f}"
                )


if __name__ == "__main__":
    main()
