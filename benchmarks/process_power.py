"""What detects a true +3 % in the same time: few long processes or many short ones? And does the interval cover the truth?

    python benchmarks/process_power.py --comparisons 2000

Samples are planted (nothing is timed): processes differ by a standard deviation of 0.5 % or 1 %, blocks of one process by
another. They go through the product's own code: the median of a process, the number of processes from a pilot, the
t-interval, the verdict on it at a margin of 2 %. Coverage is that of the whole rule, with the pilot's processes among those
that are reported.

A second table holds *n processes would probably decide it* against its promise of 80 %: for an effect and a spread that are
known, and as it is printed, from what inconclusive comparisons of 3 to 10 processes estimated."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from printing import head, row

from modbench.harness.domain.suite import EFFORTS, TWO_STAGE, TwoStage
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.stats import effects, power
from modbench.harness.stats.against_baseline import Process
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.noise import Columns
from modbench.harness.stats.verdicts import INCONCLUSIVE, WORSE, Rule, estimated

MARGIN, TRUTH = 0.02, 0.03
RULE = Rule("time", MARGIN)


@dataclass(frozen=True)
class Design:
    """Processes and rounds, and how a pilot goes on from there; `variants` besides the baseline, the first of which is judged."""

    processes: int
    rounds: int
    pilot: TwoStage | None = None
    variants: int = 8


@dataclass(frozen=True)
class Result:
    """Shares of comparisons that were called worse and that were covered, and the numbers of processes."""

    worse: float
    covered: float
    made: list[int]
    asked: list[int]


def designs() -> dict[str, Design]:
    """The designs of the table, the presets among them."""
    found = {f"{size[0]} x {size[1]}": Design(*size) for size in ((3, 6), (3, 20), (5, 30), (15, 10))}
    for name, size in (("quick", load_suite("quick").protocol_size), ("draft", EFFORTS["draft"])):
        found[f"{name}, {size[0]} x {size[1]}"] = Design(*size)
    for effort, rule in TWO_STAGE.items():
        processes, rounds = EFFORTS[effort]
        for variants in (1, 8):
            name = (
                f"{effort}, {processes} to {rule.most_processes} x {rounds}, {variants} variant{'s' * (variants > 1)}"
            )
            found[name] = Design(processes, rounds, rule, variants)
    return found


def simulate(
    design: Design, comparisons: int, *, sd: float, within: float, truth: float = TRUTH, seed: int = 0
) -> Result:
    """Judge planted comparisons.

    Args:
        design: processes and rounds.
        comparisons: how many.
        sd: standard deviation between processes of a variant's log-time against the baseline's.
        within: the same between blocks of a process.
        truth: how much longer the judged variant takes, as a share.
        seed: draws everything.
    """
    rng = np.random.default_rng(seed)
    worse, covered, made, asked = [], [], [], []
    for _ in range(comparisons):
        processes = [_process(rng, design, sd, within, truth) for _ in range(design.processes)]
        if design.pilot is not None:
            pilot = [[process[variant] for process in processes] for variant in range(design.variants)]
            number = power.fewest(power.above_0, math.log1p(design.pilot.detectable), power.spread(pilot)) or power.MOST
            more = min(number, design.pilot.most_processes) - design.processes
            processes += [_process(rng, design, sd, within, truth) for _ in range(more)]
            asked.append(number)
        effect = effects.over_processes([-process[0] for process in processes])
        assert effect.low is not None
        assert effect.high is not None
        worse.append(estimated(effect, RULE, "interleaved").verdict == WORSE)
        covered.append(effect.low <= -math.log1p(truth) <= effect.high)
        made.append(len(processes))
    return Result(float(np.mean(worse)), float(np.mean(covered)), made, asked)


def advised(processes: int, effect: float, sd: float, comparisons: int, seed: int = 0) -> tuple[float, float]:
    """Share of fresh runs that decide with as many processes as inconclusive comparisons ask for; their median number.

    Args:
        processes: of a comparison; 0: effect and spread are known.
        effect: the true one, on the log scale.
        sd: standard deviation of a process's effect.
        comparisons: how many are drawn.
        seed: draws them.
    """
    known = Effect(effect, sd=sd, n=0)
    drawn_CL = np.random.default_rng(seed).normal(effect, sd, (comparisons, processes)).tolist()
    seen = [effects.over_processes(row_L) for row_L in drawn_CL] if processes else [known]
    found = [estimated(each, RULE, "interleaved") for each in seen]
    numbers = [each.needed or power.MOST for each in found if each.verdict == INCONCLUSIVE]
    decided = [power.prospect(RULE.decides, effect, sd, (number,)).power for number in numbers]
    return float(np.mean(decided)), float(np.median(numbers))


def _process(rng: np.random.Generator, design: Design, sd: float, within: float, truth: float) -> list[float]:
    """Effect of every variant against the baseline in one process; the noise of an effect is half the baseline's, which all
    variants share.
    """
    anchor = rng.normal(0, within / math.sqrt(2), design.rounds)
    both = rng.normal(0, sd / math.sqrt(2), design.variants + 1)
    found = []
    for variant in range(design.variants):
        times = rng.normal(0, within / math.sqrt(2), design.rounds) + both[variant] - both[-1]
        times += math.log1p(truth) if variant == 0 else 0.0
        process = Process({"variant": _samples(times), "anchor": _samples(anchor)}, "anchor")
        found.append(process.by("wall_s").medians.item(process.number["variant"]))
    return found


def _samples(logs: Sequence[float] | np.ndarray) -> Columns:
    """One sample in each block, one block in each round."""
    grid_points = [float(i) for i in range(len(logs))]
    return {
        "round": grid_points,
        "block": grid_points,
        "calls": [1.0] * len(grid_points),
        "wall_s": [math.exp(value) for value in logs],
    }


def print_designs(comparisons: int, within: float) -> None:
    """Print power and coverage by processes and rounds."""
    columns = "*worse* at +3 %", "covered", "processes made, 5–95 %", "most asked, capped"
    head("processes x rounds", "between processes", *columns)
    for name, design in designs().items():
        for sd in (0.005, 0.01):
            found = simulate(design, comparisons, sd=sd, within=within)
            low, high = np.percentile(found.made, (5, 95))
            capped = ""
            if design.pilot is not None:
                cut = np.mean([each > design.pilot.most_processes for each in found.asked])
                capped = f"{max(found.asked)}, {cut:.0%}"
            numbers = f"{np.mean(found.made):.1f}, {low:.0f}–{high:.0f}"
            row(name, f"{sd:.1%}", f"{found.worse:.2f}", f"{found.covered:.3f}", numbers, capped)


def print_advice(comparisons: int) -> None:
    """Print how often fresh runs decide that make as many processes as they are told to."""
    pilots = (0, 3, 5, 8, 10)
    head("effect, sd of a process", "known", *(f"estimated from {n}" for n in pilots[1:]))
    for sd in (0.02, 0.04):
        for share in (0.0, 0.01, 0.02, 0.03):
            found = [advised(n, math.log1p(share), sd, comparisons) for n in pilots]
            row(f"{share:.0%}, {sd:.0%}", *(f"{decided:.2f}, {number:.0f}" for decided, number in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--within", type=float, default=0.0145, help="standard deviation between blocks (%(default)s)")
    options = parser.parse_args()
    print_designs(options.comparisons, options.within)
    print()
    print_advice(options.comparisons)


if __name__ == "__main__":
    main()
