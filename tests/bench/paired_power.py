"""How often `compare --paired` and `gate --paired` tell two revisions apart, by the noise of the machine.

python tests/bench/paired_power.py [gates] [advice] [serial] [compare]
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
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
    words, blocks = Counter[str](), list[int]()
    for _ in range(repeats):
        values_CN = drawn(random, spread, 0.0, cases, total)
        values_CN[0] -= math.log1p(slower)
        word, found = ended(values_CN)
        words[word] += 1
        blocks.append(found[0].n)
    passes, fails, left = (words[word] / repeats for word in ("pass", "worse", "cannot tell"))
    return Gates(passes, fails, left, float(np.median(blocks)))


def drawn(random: np.random.Generator, spread: float, correlation: float, cases: int, blocks: int) -> np.ndarray:
    """Effects of blocks [C, N] whose neighbours have a correlation (a process of first order)."""
    values_CN = random.normal(0, spread, (cases, blocks))
    for i in range(1, blocks if correlation else 0):
        values_CN[:, i] = correlation * values_CN[:, i - 1] + math.sqrt(1 - correlation**2) * values_CN[:, i]
    return values_CN


def ended(values_CN: np.ndarray, *, ignores_order: bool = False) -> tuple[str, list[gate_looks.Looked]]:
    """How a gate ends that looks at these blocks until it knows, and its last look.

    Args:
        values_CN: effects of blocks, on the log scale, above 0 where the second side is faster.
        ignores_order: whether it does not ask if neighbours are alike: the blocks of each case are looked at in another order.
    """
    total = values_CN.shape[1]
    looks, edges = gate_looks.schedule(total), [math.log1p(MARGIN)] * len(values_CN)
    for number, blocks in enumerate(looks, start=1):
        seen_CN = values_CN[:, :blocks]
        if ignores_order:
            seen_CN = np.random.default_rng(blocks).permuted(seen_CN, axis=1)
        found = gate_looks.look(seen_CN.tolist(), edges, looks[:number], total)
        words = {each.word for each in found}
        if "worse" in words or words == {"pass"}:
            return ("worse" if "worse" in words else "pass"), found
    return "cannot tell", found


class Advised(NamedTuple):
    """Gates that ended without a decision, and those made anew with the blocks that they advise.

    Attributes:
        open: gates that ended so.
        none: share of these that advise no number.
        more: share of the others that advise more blocks than were made.
        decided: share of the others whose advice, followed, decides.
        error: Monte-Carlo error of that share.
        blocks: median of the advice.
    """

    open: int
    none: float
    more: float
    decided: float
    error: float
    blocks: float


def advised(
    random: np.random.Generator, spread: float, *, slower: float, total: int, gates: int, cases: int = 1
) -> Advised:
    """Follow the advice of so many gates that could not tell; of ten times as many gates, if fewer could not.

    Args:
        random: source of the noise.
        spread: standard deviation of a block's effect, on the log scale.
        slower: how much longer the first case takes in the second revision, as a share.
        total: blocks that the budget holds.
        gates: those that could not tell.
        cases: timed cases; the others did not change.
    """
    advice, decided, open_ = list[int](), list[bool](), 0

    def tried(blocks: int) -> tuple[str, list[gate_looks.Looked]]:
        values_CN = drawn(random, spread, 0.0, cases, blocks)
        values_CN[0] -= math.log1p(slower)
        return ended(values_CN)

    for _ in range(10 * gates):
        word, found = tried(total)
        if word != "cannot tell" or any(each.serial is not None for each in found):
            continue
        open_ += 1
        needed = gate_looks.blocks_needed(found, [math.log1p(MARGIN)] * cases)
        if needed is not None:
            advice.append(needed)
            # Rounded down: boundaries of plans take long, and are known for each length once.
            decided.append(tried(max(total + 1, needed - needed % 5))[0] != "cannot tell")
        if open_ == gates:
            break
    share, known = float(np.mean(decided)) if decided else math.nan, max(1, len(advice))
    error = math.sqrt(share * (1 - share) / known)
    more = float(np.mean([each > total for each in advice])) if advice else math.nan
    median = float(np.median(advice)) if advice else math.nan
    return Advised(open_, 1 - len(advice) / max(1, open_), more, share, error, median)


def print_advice(gates: int) -> None:
    """Print whether the blocks that gates advise decide, by the truth, the spread and the cases."""
    heads = [
        "block sd",
        "cases",
        "blocks made",
        "true slowdown",
        "open gates",
        "no number",
        "more than made",
        "median advice",
    ]
    print("| " + " | ".join([*heads, "followed: decides"]) + " |\n" + "| --- " * (len(heads) + 1) + "|")
    random = np.random.default_rng(0)
    for cases, spread, total in ((1, 0.015, 10), (1, 0.03, 20), (8, 0.015, 10)):
        for slower in (0.0, 0.01, 0.015, 0.025, 0.03):
            found = advised(random, spread, slower=slower, total=total, gates=gates, cases=cases)
            cells = [f"{spread:.1%}", str(cases), str(total), f"{slower:+.1%}", str(found.open), f"{found.none:.0%}"]
            cells += [f"{found.more:.0%}", f"{found.blocks:.0f}", f"{found.decided:.2f} ± {found.error:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def too_alike(random: np.random.Generator, correlation: float, *, cases: int, blocks: int, repeats: int) -> float:
    """Share of looks at so many blocks at which some case's neighbours are too alike."""
    edges = [math.log1p(MARGIN)] * cases
    looks = (
        gate_looks.look(drawn(random, 0.015, correlation, cases, blocks).tolist(), edges, [blocks], blocks)
        for _ in range(repeats)
    )
    return float(np.mean([any(each.serial is not None for each in found) for found in looks]))


def print_serial(repeats: int) -> None:
    """Print how often the order of blocks speaks against a decision, and what gates at the margin say without and with that."""
    correlations = (0.0, 0.3, 0.5, 0.7)
    heads = ["cases", "blocks", *(f"correlation {each:g}" for each in correlations)]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    random = np.random.default_rng(0)
    for cases in (1, 8, 34):
        for blocks in (20, 50, 100):
            shares = [too_alike(random, each, cases=cases, blocks=blocks, repeats=repeats) for each in correlations]
            print(f"| {cases} | {blocks} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)
    print()
    heads = ["blocks", "correlation", "+2%, order ignored: passes / *worse*", "+2%: passes / *worse*", "equal: passes"]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for blocks in (50, 100):
        for correlation in correlations:
            counts = Counter[tuple[str, str]]()
            for _ in range(repeats):
                equal_CN = drawn(random, 0.015, correlation, 1, blocks)
                for name, values_CN, ignores in (
                    ("ignored", equal_CN - math.log1p(MARGIN), True),
                    ("asked", equal_CN - math.log1p(MARGIN), False),
                    ("equal", equal_CN, False),
                ):
                    counts[name, ended(values_CN, ignores_order=ignores)[0]] += 1
            ignored, asked = (
                " / ".join(f"{counts[name, word] / repeats:.3f}" for word in ("pass", "worse"))
                for name in ("ignored", "asked")
            )
            print(
                f"| {blocks} | {correlation:g} | {ignored} | {asked} | {counts['equal', 'pass'] / repeats:.3f} |",
                flush=True,
            )


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
    """Print the tables, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=["gates", "advice", "serial", "compare"])
    named = parser.parse_args().tables
    for name, table in {"gates": print_gates, "advice": print_advice, "serial": print_serial}.items():
        if not named or name in named:
            table(150 if name == "advice" else 2000)
            print()
    if not named or "compare" in named:
        print_comparisons()


def print_comparisons() -> None:
    """Print how often two revisions are told apart, by the noise of processes and rounds."""
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
