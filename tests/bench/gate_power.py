"""How often does a gate pass identical code, and find a slowdown? Simulated runs and launches, judged by the real code.

    python tests/bench/gate_power.py --gates 2000

A gate of timed cases, each with its typical and its mean effect. What a run does to a case, and what its launches do, are drawn;
then everything from the interval over launches on is the product's own: the spread between runs that is measured from earlier
runs, or stated, the verdicts, and the limits that are printed. Cases of a run are ratios to one anchor, so that what the run does
to them is correlated by a half; what launches do is drawn without, with which it is hardest to pass.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modbench.harness.stats import effects
from modbench.reports.questions.gate import non_inferiority, run_spread
from modbench.reports.questions.gate.non_inferiority import GateFinding
from modbench.reports.questions.gate.run_spread import FEWEST_RUNS, RUN_SD, SHARED

CASES, MARGIN = 34, 0.02
# Correlation of a launch's mean effect with its typical one.
TOGETHER = 0.85
# Launches of a draft, and the standard deviation between them.
EFFORT, LAUNCH_SD = 10, 0.005
RUN_SDS, SIZES, HISTORIES = (0.0056, 0.008, 0.01, 0.02), (8, 34), (1, 3, 5, 10)


@dataclass(frozen=True)
class Truth:
    """What is simulated.

    Attributes:
        launches: of each run.
        sd: standard deviation of a launch's effect, on the log scale.
        slower: how much longer cases take in the new run, as a share.
        cases: timed cases.
        every: whether every case is slower; else the first alone.
        anchor: share of the launches' variance that comes from the anchor, which all cases have in common.
        run_sd: standard deviation of what a run does to a case, on the log scale.
        shared: share of the runs' variance that all cases have in common.
        history: earlier runs, of which the base is one.
        stated: the standard deviation between runs that is assumed where the history is too short.
        margin: of the gate.
    """

    launches: int
    sd: float
    slower: float = 0.0
    cases: int = CASES
    every: bool = False
    anchor: float = 0.0
    run_sd: float = 0.0
    shared: float = SHARED
    history: int = 1
    stated: float = 0.0
    margin: float = MARGIN


def run(truth: Truth, rng: np.random.Generator) -> list[list[effects.Effect]]:
    """The effects of a run of unchanged code over its launches: the typical ones of its cases, then their means."""
    common, own = math.sqrt(truth.shared), math.sqrt(1 - truth.shared)
    of_run_C = truth.run_sd * (common * rng.normal() + own * rng.normal(size=truth.cases))
    common_L = rng.normal(0, truth.sd * math.sqrt(truth.anchor), truth.launches)
    own_CL = rng.normal(0, truth.sd * math.sqrt(1 - truth.anchor), (truth.cases, truth.launches))
    typical_CL = own_CL + common_L
    means_CL = TOGETHER * typical_CL + math.sqrt(1 - TOGETHER**2) * rng.normal(0, truth.sd, typical_CL.shape)
    return [
        [effects.over_launches(row_L) for row_L in side_CL + of_run_C[:, None]] for side_CL in (typical_CL, means_CL)
    ]


def simulated(truth: Truth, rng: np.random.Generator) -> list[GateFinding]:
    """A gate of two runs, judged."""
    now, *earlier = (run(truth, rng) for _ in range(1 + truth.history))
    slower = truth.cases if truth.every else 1
    changes: list[list[non_inferiority.Change]] = [[] for _ in range(truth.cases)]
    for kind, side in enumerate(now):
        known = [[each[kind][case] for each in earlier] for case in range(truth.cases)]
        spread = run_spread.measured(known) or run_spread.stated(truth.stated)
        for case, effect in enumerate(side):
            shifted = effect.shifted(-math.log1p(truth.slower)) if case < slower else effect
            change = non_inferiority.welch(shifted, earlier[0][kind][case], truth.margin, spread)
            changes[case] += [] if change is None else [replace(change, alike=str(kind))]
    findings = [
        GateFinding(f"case{number}", metric="latency/forward", check="slower", changes=tuple(each))
        for number, each in enumerate(changes)
    ]
    return non_inferiority.judge(findings)


@dataclass(frozen=True)
class Shares:
    """What simulated gates said, as shares of gates.

    Attributes:
        passed: all cases passed.
        found: the first case, which may be slower, was called worse.
        missed: the first case passed.
        false: another case was called worse.
        any_worse: any case was called worse.
    """

    passed: float
    found: float
    missed: float
    false: float
    any_worse: float


def shares(truth: Truth, gates: int, seed: int = 0) -> Shares:
    """Simulate a number of gates."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(gates):
        first, *others = (finding.verdict for finding in simulated(truth, rng))
        good = {"pass", "better"}
        found, false = first == "worse", "worse" in others
        rows.append(({first, *others} <= good, found, first in good, false, found or false))
    return Shares(*map(float, np.mean(rows, axis=0)))


def asked(truth: Truth, gates: int, seed: int = 0) -> list[int]:
    """The launches that gates of identical code ask for, where they cannot tell."""
    rng = np.random.default_rng(seed)
    found = [non_inferiority.with_launches(simulated(truth, rng)) for _ in range(gates)]
    return [
        whole.as_made
        for findings, whole in found
        if whole.as_made and any(each.verdict == "cannot tell" for each in findings)
    ]


def usable(truth: Truth, gates: int, seed: int = 0) -> list[float]:
    """The smallest limits that gates of identical code print."""
    rng = np.random.default_rng(seed)
    return [non_inferiority.usable(simulated(truth, rng)).get("slower", math.inf) for _ in range(gates)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def known_by(history: int) -> str:
    """How much runs differ is known from so many earlier runs."""
    return f"{history} earlier runs" if history >= FEWEST_RUNS else f"--run-sd {RUN_SD:.0%} (0 to 2 earlier runs)"


def false_alarms(gates: int) -> None:
    """How often gates of identical code call anything worse; cases share nothing of what a run does, which is worst."""
    print(f"Identical code, cases that share nothing of what a run does, any *worse* ({gates} gates):\n")
    rows = []
    for sd, cases in itertools.product(RUN_SDS, SIZES):
        same = Truth(EFFORT, LAUNCH_SD, cases=cases, run_sd=sd, shared=0.0)
        tried = [same, *(replace(same, history=n, stated=RUN_SD) for n in HISTORIES)]
        rows.append([f"{sd:.2%}", str(cases), *(f"{shares(each, gates).any_worse:.1%}" for each in tried)])
    table(["runs differ by", "cases", "launches alone (--run-sd 0%)", *map(known_by, HISTORIES)], rows)


def at_the_margin(gates: int) -> None:
    """How often gates call anything worse where every case is slower by exactly the margin."""
    print(f"Every case slower by exactly the margin, runs differ by 1 %, any *worse* ({gates} gates):\n")
    rows = []
    for shared, cases in itertools.product((0.0, 0.5, 0.9), SIZES):
        edge = Truth(EFFORT, LAUNCH_SD, MARGIN, cases, every=True, run_sd=0.01, shared=shared, stated=RUN_SD)
        tried = [replace(edge, history=n) for n in HISTORIES]
        rows.append([f"{shared:g}", str(cases), *(f"{shares(each, gates, 1).any_worse:.1%}" for each in tried)])
    table(["correlation of cases", "cases", *map(known_by, HISTORIES)], rows)


def usable_limits(gates: int) -> None:
    """The smallest limits that gates print, whether identical code passes at them, and what a slower case needs."""
    print(f"The smallest usable limit, and one slower case at a margin of {MARGIN:.0%} ({gates} gates):\n")
    slowdowns = (0.05, 0.1, 0.15)
    rows = []
    for sd, histories in ((0.01, HISTORIES), (0.0056, HISTORIES[1:])):
        for history, cases in itertools.product(histories, SIZES):
            same = Truth(EFFORT, LAUNCH_SD, cases=cases, run_sd=sd, history=history, stated=RUN_SD)
            limit = float(np.median(usable(same, gates, 2)))
            passed = shares(replace(same, margin=limit), gates, 3).passed
            found = [shares(replace(same, slower=slower), gates, 4) for slower in slowdowns]
            cells = [f"{sd:.2%}", known_by(history), str(cases), f"{limit:.1%}", f"{passed:.0%}"]
            rows.append([*cells, *(f"{each.found:.0%} / {each.missed:.0%}" for each in found)])
    heads = ["runs differ by", "as is known from", "cases", "smallest usable limit", "identical code passes at it"]
    table([*heads, *(f"+{slower:.0%}: *worse* / passes" for slower in slowdowns)], rows)


def what_launches_add(gates: int) -> None:
    """How often gates pass and find a slower case, by launches, where runs differ; and what they ask for."""
    limit, slowdowns = 0.08, (0.10, 0.15, 0.20)
    print(f"{CASES} cases, --run-sd 1%, runs differ by 1 %, margin {limit:.0%} ({gates} gates):\n")
    rows = []
    for sd, launches in itertools.product((0.01, 0.02, 0.04), (5, 10, 20)):
        same = Truth(launches, sd, run_sd=0.01, stated=RUN_SD, margin=limit)
        calm = shares(same, gates, 5)
        slow = [shares(replace(same, slower=slower), gates, 6) for slower in slowdowns]
        cells = [f"{sd:.0%}", str(launches), f"{calm.passed:.0%}", f"{calm.any_worse:.0%}"]
        rows.append([*cells, *(f"{each.found:.0%} / {each.missed:.0%}" for each in slow)])
    heads = ["launch sd", "launches of each run", "identical: all pass", "identical: any *worse*"]
    table([*heads, *(f"one case +{slower:.0%}: *worse* / passes" for slower in slowdowns)], rows)
    same = Truth(5, 0.02, run_sd=0.01, stated=RUN_SD, margin=limit)
    named = asked(same, gates, seed=7)
    low, middle, high = np.quantile(named, (0.1, 0.5, 0.9)) if named else (math.nan,) * 3
    again = [shares(replace(same, launches=launches), 1, seed).passed for seed, launches in enumerate(named)]
    print(f"5 launches of sd 2 % that cannot tell ask for {middle:.0f} (80 % of gates: {low:.0f} to {high:.0f});")
    print(f"with as many as each asked for, identical code passes in {np.mean(again):.1%}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=2000, help="simulated gates for each number; a tenth for power")
    gates: int = parser.parse_args().gates
    few = max(1, gates // 10)
    print(f"Unless said, {EFFORT} launches of sd {LAUNCH_SD:.1%} and a margin of {MARGIN:.0%}\n")
    false_alarms(gates)
    at_the_margin(gates)
    usable_limits(few)
    what_launches_add(few)


if __name__ == "__main__":
    main()
