"""Pairs of known ratio, judged by modbench and by tests that time one after the other, beside several loads.

    python benchmarks/planted_pairs.py --load 0,2,6 --more 100,101,103 --tries 20    # again: it goes on
    python benchmarks/planted_pairs.py --tries 0                                     # the table of what the file holds
    python benchmarks/planted_pairs.py --processes 5 --measure 0 --more 100,101,102,103,105    # five processes each

A block called 100 times is compared with itself and with more calls of it (`load.py`). Ours makes as many forked processes of
six rounds as fit into `--measure` seconds, and is judged at a margin of 2 %. *A then B* times half of the time each in one
process. Each decision is a line of a file; tools, ratios and loads take turns. Prints Markdown, as docs/method-load.md and
data/planted_pairs_*.csv have it: hits and decisions with the exact 95 % interval of their share, the root mean square error of
the ratio, and the share of a core that what was timed got.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import load
from printing import head, row
from pydantic import TypeAdapter
from scipy import stats

from modbench.harness.stats import paired
from modbench.harness.stats.effects import share_interval
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.verdicts import ByClock, Contrast, Rule, Side, contrast

LESS, ROUNDS, RULE = 100, 6, Rule(margin=0.02)


@dataclass(frozen=True)
class Found:
    """What was found by one rule or clock.

    Attributes:
        said: its decision on what has more calls: `worse`, `better` or another word.
        apart: `worse` or `better` where it tells the two apart, by however little.
        ratio: the time of more calls over that of less.
    """

    said: str
    apart: str
    ratio: float


@dataclass(frozen=True)
class Decision:
    """One decision of a tool.

    Attributes:
        load: load processes beside it.
        tool: key of `TOOLS`.
        more: calls that were compared with `LESS`.
        wall_s: how long it took.
        core: CPU time of what was timed, over its wall time.
        found: by rule or clock, in words.
    """

    load: int
    tool: str
    more: int
    wall_s: float
    core: float
    found: dict[str, Found]


LINES = TypeAdapter(Decision)
Tool = Callable[[int, float, int], tuple[dict[str, Found], float]]


def direction(ratio: float) -> str:
    return "worse" if ratio > 1 else "better"


def ours(more: int, seconds: float, fewest: int) -> tuple[dict[str, Found], float]:
    """As many forked processes as fit into the time, the product's verdict, and what each clock alone would say."""
    made, begin, spent = list[ProcessSamples](), time.monotonic(), 0.0
    while len(made) < fewest or spent * (1 + 1 / len(made)) < seconds:
        made.append(load.in_a_fresh_process(load.block_process, LESS, more, ROUNDS))
        spent = time.monotonic() - begin
    pair = paired.numbers(made, one_thread=True)

    def of(judged: Contrast) -> Found:
        ratio = math.exp(-judged.effect.value)
        return Found(str(judged.verdict), direction(ratio) if judged.effect.excludes_0 else "undecided", ratio)

    def alone(base: ByClock, new: ByClock) -> Found:
        return of(contrast(Side(base), Side(new), "interleaved", RULE))

    found = {"**ours**": of(pair.contrast(RULE)), "**ours**, wall time alone": alone(pair.base.wall, pair.new.wall)}
    if pair.base.cpu is not None and pair.new.cpu is not None:
        found["**ours**, CPU time alone"] = alone(pair.base.cpu, pair.new.cpu)
    cpu_s, wall_s = (sum(sum(each.baseline[clock]) for each in made) for clock in ("cpu_s", "wall_s"))
    return found, cpu_s / wall_s


def a_then_b(more: int, seconds: float, _fewest: int) -> tuple[dict[str, Found], float]:
    """Half the time for calls of each, in one process, and tests that other tools use."""
    walls, cpus = load.in_a_fresh_process(one_after_the_other, more, seconds)
    found = {}
    for clock, (a, b) in {"wall": walls, "CPU time": cpus}.items():
        ratio = median(b) / median(a)
        tests = {
            "Mann–Whitney": stats.mannwhitneyu(a, b).pvalue,
            "Welch's t": stats.ttest_ind(a, b, equal_var=False).pvalue,
        }
        for test, p in tests.items():
            apart = direction(ratio) if p < 0.05 else "undecided"
            found[f"A then B, {clock}, {test}"] = Found(apart, apart, ratio)
    return found, sum(map(sum, cpus)) / sum(map(sum, walls))


def one_after_the_other(more: int, seconds: float) -> tuple[list[list[float]], list[list[float]]]:
    """Wall seconds of the calls of each side, and their CPU seconds."""
    walls, cpus = list[list[float]](), list[list[float]]()
    for times in (LESS, more):
        call = load.call_of(times)
        call()
        walls.append([])
        cpus.append([])
        until = time.monotonic() + seconds / 2
        while time.monotonic() < until:
            start, busy = time.perf_counter(), time.thread_time()
            call()
            cpus[-1].append(time.thread_time() - busy)
            walls[-1].append(time.perf_counter() - start)
    return walls, cpus


TOOLS: dict[str, Tool] = {"ours": ours, "a_then_b": a_then_b}


def cells(found: Sequence[Found], more: int) -> Iterator[str]:
    """Of decisions on one ratio: how often a difference was said, how often any was told, and the error of the ratio."""
    if not found:
        yield from "–––"
        return
    hits = {"worse"} if more > LESS else {"worse", "better"}
    for said in ([each.said for each in found], [each.apart for each in found]):
        number = sum(word in hits for word in said)
        low, high = share_interval(number, len(said))
        yield f"{number} of {len(said)} ({100 * low:.1f}–{100 * high:.1f} %)"
    yield f"{math.expm1(math.sqrt(fmean(math.log(each.ratio * LESS / more) ** 2 for each in found))):.2%}"


def table(made: Sequence[Decision]) -> None:
    """Print a row for each rule or clock and load."""
    ratios = sorted({each.more for each in made})
    columns = []
    for more in ratios:
        said = f"+{more - LESS} %: *worse*" if more > LESS else "equal: *better* or *worse*"
        columns += [said, "significant", "RMS error"]
    head("rule", "load", "share of a core", "seconds", *columns)
    for name in dict.fromkeys(name for each in made for name in each.found):
        for beside in sorted({each.load for each in made if name in each.found}):
            there = [each for each in made if each.load == beside and name in each.found]
            counts = (cells([each.found[name] for each in there if each.more == more], more) for more in ratios)
            core, seconds = fmean(each.core for each in there), median(each.wall_s for each in there)
            row(name, beside, f"{core:.0%}", f"{seconds:.0f}", *itertools.chain.from_iterable(counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", default="0,2,6", help="load processes (%(default)s)")
    parser.add_argument("--asleep", type=float, default=0.0, metavar="S", help="they sleep too, for about as long as S")
    parser.add_argument("--more", default="100,101,103", help=f"calls that are compared with {LESS} (%(default)s)")
    parser.add_argument("--tools", default=",".join(TOOLS), help="(%(default)s)")
    parser.add_argument("--tries", type=int, default=20, help="decisions of each tool, ratio and load (%(default)s)")
    parser.add_argument("--measure", type=float, default=15.0, metavar="S", help="seconds of one (%(default)s)")
    parser.add_argument("--processes", type=int, default=3, help="of ours, at least (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("planted_pairs.jsonl"), help="read, and appended to")
    asked = parser.parse_args()
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    made = [LINES.validate_json(line) for line in lines]
    load.in_a_fresh_process(load.block_process, 1, 1, 1)  # starts the fork server, as once in a run
    for number in range(asked.tries):
        for beside in map(int, asked.load.split(",")):
            for tool in asked.tools.split(","):
                for more in map(int, asked.more.split(",")):
                    if sum((each.load, each.tool, each.more) == (beside, tool, more) for each in made) > number:
                        continue
                    begin = time.monotonic()
                    with load.load(beside, asked.asleep):
                        found, core = TOOLS[tool](more, asked.measure, asked.processes)
                    made.append(Decision(beside, tool, more, time.monotonic() - begin, core, found))
                    with asked.out.open("ab") as out:
                        out.write(LINES.dump_json(made[-1]) + b"\n")
                    print(f"\r{len(made)} decisions", end="", file=sys.stderr, flush=True)
    table(made)


if __name__ == "__main__":
    main()
