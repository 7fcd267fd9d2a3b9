"""How often does a gate pass identical code, and find a slowdown? Simulated launch effects, judged by the real code.

    python tests/bench/gate_power.py --gates 400

A gate of 34 timed cases, each with its typical and its mean effect. Effects of launches are drawn, then everything from the
interval over launches on is the product's own. Cases of a run are ratios to one anchor, so part of their variance is common;
without any it is hardest to pass.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from modbench.harness.stats import effects
from modbench.reports.questions.gate import non_inferiority
from modbench.reports.questions.gate.non_inferiority import GateFinding

CASES, MARGIN = 34, 0.02
# Correlation of a launch's mean effect with its typical one.
TOGETHER = 0.85
LAUNCHES, SDS, SLOWER = (5, 6, 10, 15, 20), (0.005, 0.01), (0.03, 0.05, 0.10)


@dataclass(frozen=True)
class Truth:
    """What is simulated.

    Attributes:
        launches: of each run.
        sd: standard deviation of a launch's effect, on the log scale.
        slower: how much longer the first case takes in the new run, as a share; the others did not change.
        cases: timed cases.
        anchor: share of the variance that comes from the anchor, which all cases have in common.
    """

    launches: int
    sd: float
    slower: float = 0.0
    cases: int = CASES
    anchor: float = 0.0


def simulated(truth: Truth, rng: np.random.Generator) -> list[GateFinding]:
    """A gate of two runs, judged."""
    runs = []
    for slower in (truth.slower, 0.0):
        common = rng.normal(0, truth.sd * math.sqrt(truth.anchor), truth.launches)
        own = rng.normal(0, truth.sd * math.sqrt(1 - truth.anchor), (truth.cases, truth.launches))
        typical_CL = own + common
        means_CL = TOGETHER * typical_CL + math.sqrt(1 - TOGETHER**2) * rng.normal(0, truth.sd, typical_CL.shape)
        for side_CL in (typical_CL, means_CL):
            side_CL[0] -= math.log1p(slower)
        runs.append([[effects.over_launches(row_L) for row_L in side_CL] for side_CL in (typical_CL, means_CL)])
    findings = []
    for number in range(truth.cases):
        changes = [
            non_inferiority.welch(now[number], before[number], MARGIN) for now, before in zip(*runs, strict=True)
        ]
        found = tuple(change for change in changes if change is not None)
        findings.append(GateFinding(f"case{number}", metric="latency/forward", changes=found))
    return non_inferiority.judge(findings)


@dataclass(frozen=True)
class Shares:
    """What simulated gates said, as shares of gates.

    Attributes:
        passed: all cases passed.
        found: the first case, which may be slower, was called worse.
        missed: the first case passed.
        false: another case was called worse.
    """

    passed: float
    found: float
    missed: float
    false: float


def shares(truth: Truth, gates: int, seed: int = 0) -> Shares:
    """Simulate a number of gates."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(gates):
        first, *others = (finding.verdict for finding in simulated(truth, rng))
        good = {"pass", "better"}
        rows.append(({first, *others} <= good, first == "worse", first in good, "worse" in others))
    return Shares(*map(float, np.mean(rows, axis=0)))


def asked(truth: Truth, gates: int, seed: int = 0) -> list[int]:
    """The launches that gates of identical code ask for, where they cannot tell."""
    rng = np.random.default_rng(seed)
    found = [non_inferiority.with_launches(simulated(truth, rng)) for _ in range(gates)]
    return [
        whole.launches
        for findings, whole in found
        if whole.launches and any(each.verdict == "cannot tell" for each in findings)
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=400, help="simulated gates for each number")
    gates: int = parser.parse_args().gates
    print(f"{CASES} timed cases, margin {MARGIN:.0%}, {gates} gates for each number, half as many with a slower case\n")
    heads = ["launch sd", "launches of each run", "identical: all pass", "… with half of the variance in common"]
    heads += ["identical: any *worse*", *(f"one case +{slower:.0%}: *worse* / passes" for slower in SLOWER)]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for sd in SDS:
        for n in LAUNCHES:
            calm, common = shares(Truth(n, sd), gates), shares(Truth(n, sd, anchor=0.5), gates, seed=1)
            slow = [shares(Truth(n, sd, slower), gates // 2, seed=2) for slower in SLOWER]
            cells = [
                f"{sd:.1%}",
                str(n),
                f"{calm.passed:.1%}",
                f"{common.passed:.1%}",
                f"{calm.found + calm.false:.1%}",
            ]
            cells += [f"{each.found:.1%} / {each.missed:.1%}" for each in slow]
            print("| " + " | ".join(cells) + " |", flush=True)
    edge = shares(Truth(10, 0.01, MARGIN), gates, seed=3)
    print(
        f"\none case slower by exactly the margin, 10 launches, sd 1 %: passes {edge.missed:.1%}, worse {edge.found:.1%}"
    )
    for n in (5, 6):
        named = asked(Truth(n, 0.01), gates, seed=4)
        q = np.quantile(named, (0.1, 0.5, 0.9))
        again = [shares(Truth(launches, 0.01), 1, seed).passed for seed, launches in enumerate(named)]
        print(
            f"a gate of {n} launches at sd 1 % asks for {q[1]:.0f} (80 % of gates: {q[0]:.0f} to {q[2]:.0f}); ", end=""
        )
        print(f"with as many as it asked for, identical code passes in {np.mean(again):.1%}")


if __name__ == "__main__":
    main()
