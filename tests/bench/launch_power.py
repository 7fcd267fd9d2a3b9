"""What detects a true +3 % in the same time: few long launches or many short ones? And does the interval cover the truth?

    python tests/bench/launch_power.py --comparisons 2000

Samples are planted (nothing is timed): launches differ by a standard deviation of 0.5 % or 1 %, blocks of one launch by another.
They go through the product's own code: the median of a launch, the number of launches from a pilot, the t-interval,
the verdict on it at a margin of 2 %. Coverage is that of the whole rule, with the pilot's launches among those that are reported.

A second table holds *n launches would probably decide it* against its promise of 80 %: for an effect and a spread that are known,
and as it is printed, from what undecided comparisons of 3 to 10 launches estimated.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modbench.harness.domain.suite import EFFORTS, TWO_STAGE, TwoStage
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.stats import effects, power
from modbench.harness.stats.against_anchor import Process
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.contrast import INCONCLUSIVE, WORSE, Rule, estimated
from modbench.harness.stats.effects import Effect

MARGIN, TRUTH = 0.02, 0.03
RULE = Rule("time", MARGIN)


@dataclass(frozen=True)
class Design:
    """Launches and rounds, and how a pilot goes on from there; `arms` besides the anchor, the first of which is judged."""

    launches: int
    rounds: int
    pilot: TwoStage | None = None
    arms: int = 8


@dataclass(frozen=True)
class Result:
    """Shares of comparisons that were called worse and that were covered, and the numbers of launches."""

    worse: float
    covered: float
    made: list[int]
    asked: list[int]


def designs() -> dict[str, Design]:
    """The designs of the table, the presets among them."""
    quick = load_suite("quick").protocol_size
    draft = EFFORTS["draft"]
    found = {"3 x 6": Design(3, 6), "3 x 20": Design(3, 20), f"draft, {draft[0]} x {draft[1]}": Design(*draft)}
    found |= {"5 x 30": Design(5, 30), "15 x 10": Design(15, 10), f"quick, {quick[0]} x {quick[1]}": Design(*quick)}
    for effort, rule in TWO_STAGE.items():
        launches, rounds = EFFORTS[effort]
        for arms in (1, 8):
            name = f"{effort}, {launches} to {rule.most_launches} x {rounds}, {arms} arm{'s' * (arms > 1)}"
            found[name] = Design(launches, rounds, rule, arms)
    return found


def simulate(
    design: Design, comparisons: int, *, sd: float, within: float, truth: float = TRUTH, seed: int = 0
) -> Result:
    """Judge planted comparisons.

    Args:
        design: launches and rounds.
        comparisons: how many.
        sd: standard deviation between launches of an arm's log-time against the anchor's.
        within: the same between blocks of a launch.
        truth: how much longer the judged arm takes, as a share.
        seed: draws everything.
    """
    rng = np.random.default_rng(seed)
    worse, covered, made, asked = [], [], [], []
    for _ in range(comparisons):
        launches = [_launch(rng, design, sd, within, truth) for _ in range(design.launches)]
        if design.pilot is not None:
            pilot = [[launch[arm] for launch in launches] for arm in range(design.arms)]
            number = power.fewest(power.above_0, math.log1p(design.pilot.mde), power.spread(pilot)) or power.MOST
            more = min(number, design.pilot.most_launches) - design.launches
            launches += [_launch(rng, design, sd, within, truth) for _ in range(more)]
            asked.append(number)
        effect = effects.over_launches([-launch[0] for launch in launches])
        assert effect.low is not None
        assert effect.high is not None
        worse.append(estimated(effect, RULE, "interleaved").verdict == WORSE)
        covered.append(effect.low <= -math.log1p(truth) <= effect.high)
        made.append(len(launches))
    return Result(float(np.mean(worse)), float(np.mean(covered)), made, asked)


def advised(launches: int, effect: float, sd: float, comparisons: int, seed: int = 0) -> tuple[float, float]:
    """Share of fresh runs that decide with as many launches as undecided comparisons ask for; their median number.

    Args:
        launches: of a comparison; 0: effect and spread are known.
        effect: the true one, on the log scale.
        sd: standard deviation of a launch's effect.
        comparisons: how many are drawn.
        seed: draws them.
    """
    known = Effect(effect, sd=sd, n=0)
    drawn_CL = np.random.default_rng(seed).normal(effect, sd, (comparisons, launches)).tolist()
    seen = [effects.over_launches(row_L) for row_L in drawn_CL] if launches else [known]
    found = [estimated(each, RULE, "interleaved") for each in seen]
    numbers = [each.needed or power.MOST for each in found if each.verdict == INCONCLUSIVE]
    decided = [power.prospect(RULE.decides, effect, sd, (number,)).power for number in numbers]
    return float(np.mean(decided)), float(np.median(numbers))


def _launch(rng: np.random.Generator, design: Design, sd: float, within: float, truth: float) -> list[float]:
    """Effect of every arm against the anchor in one launch; the noise of an effect is half the anchor's, which all arms share."""
    anchor = rng.normal(0, within / math.sqrt(2), design.rounds)
    both = rng.normal(0, sd / math.sqrt(2), design.arms + 1)
    found = []
    for arm in range(design.arms):
        times = rng.normal(0, within / math.sqrt(2), design.rounds) + both[arm] - both[-1]
        times += math.log1p(truth) if arm == 0 else 0.0
        launch = Process({"arm": _samples(times), "anchor": _samples(anchor)}, "anchor")
        found.append(launch.by("wall_s").medians.item(launch.number["arm"]))
    return found


def _samples(logs: Sequence[float] | np.ndarray) -> Columns:
    """One sample in each block, one block in each round."""
    places = [float(i) for i in range(len(logs))]
    return {
        "round": places,
        "block": places,
        "calls": [1.0] * len(places),
        "wall_s": [math.exp(value) for value in logs],
    }


def advice(comparisons: int) -> None:
    """Print how often fresh runs decide that make as many launches as they are told to."""
    pilots = (0, 3, 5, 8, 10)
    heads = ["known", *(f"estimated from {n}" for n in pilots[1:])]
    print(f"\n| effect, sd of a launch | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
    for sd in (0.02, 0.04):
        for share in (0.0, 0.01, 0.02, 0.03):
            found = [advised(n, math.log1p(share), sd, comparisons) for n in pilots]
            cells = [f"{decided:.2f}, {number:.0f}" for decided, number in found]
            print(f"| {share:.0%}, {sd:.0%} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--within", type=float, default=0.0145, help="standard deviation between blocks (%(default)s)")
    options = parser.parse_args()
    print(f"{options.comparisons} comparisons each; blocks of a launch differ by {options.within:.2%}\n")
    print(
        "| launches x rounds | between launches | *worse* at +3 % | covered | launches made, 5–95 % | most asked, capped |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, design in designs().items():
        for sd in (0.005, 0.01):
            found = simulate(design, options.comparisons, sd=sd, within=options.within)
            low, high = np.percentile(found.made, (5, 95))
            capped = ""
            if design.pilot is not None:
                cut = np.mean([each > design.pilot.most_launches for each in found.asked])
                capped = f"{max(found.asked)}, {cut:.0%}"
            print(
                f"| {name} | {sd:.1%} | {found.worse:.2f} | {found.covered:.3f} | "
                f"{np.mean(found.made):.1f}, {low:.0f}–{high:.0f} | {capped} |",
                flush=True,
            )
    advice(options.comparisons)


if __name__ == "__main__":
    main()
