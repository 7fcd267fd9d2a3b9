"""Two revisions gated by modbench, pyperf, asv and benchstats in the same minutes: how often is what *worse*?

    python tests/bench/gate_rivals.py quiet.json --minutes 60           # measures a pool, then prints the table
    python tests/bench/gate_rivals.py busy.json --minutes 60 --load 4   # the same beside load processes
    python tests/bench/gate_rivals.py quiet.json busy.json --gates 1,4  # the table of pools that are there, for these minutes

A pool is measured once. Four fresh processes are alive together and take turns, round by round, as in a block of `modbench ab`;
then four more. In every round a process times the same code with its work, and with 2, 3 and 10 % more of it, in random order. So
it can stand for a process of the base, or of a head that is equal or slower, whose truth is known.

A gate is a stretch of the pool without a gap that took its minutes; the time of works that it does not need is not counted. Each
tool takes the processes of the stretch in the order in which it would have run them, and decides by its own code: pyperf and
benchstats have the base in the first half and the head in the second, asv has them in turn (`--interleave-rounds`), modbench in
blocks of two processes of each. A stretch begins with every block, so that they overlap: the table says how many lie apart.

Where others are favoured: a process costs them what it costs beside three others that start at the same time, and benchstats gets
the mean of each process, where its samples may all come from one. A tool that is not installed has a row that says so:
`pip install pyperf asv benchstats`.
"""

from __future__ import annotations

import argparse
import bisect
import importlib
import itertools
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import load
from pydantic import TypeAdapter

from modbench.harness.call.timing import interleave
from modbench.harness.machine import environment
from modbench.harness.stats import interim, verdicts
from modbench.plugins.ab import question as ab
from modbench.plugins.ab import turn_taking
from modbench.plugins.ab.one_process import take_turns
from modbench.plugins.ab.question import Effects, Row
from modbench.plugins.ab.suites import ROUNDS
from modbench.reports.questions.gate import fail_on

# Calls of a block (`planted_block.py`): of the base, and of a head that is equal, 2, 3 and 10 % slower. About 30 ms each.
BASE, HEADS = 200, {"equal": 200, "+2 %": 204, "+3 %": 206, "+10 %": 220}
MARGIN = 0.02
WARM_UP_CALLS, LIMIT_S = 2, 300.0
UNDECIDED = verdicts.INCONCLUSIVE
CLOCKS = {"wall": "wall time", "cpu": "CPU time"}
# Values of a process, as pyperf makes them unless told otherwise.
PYPERF_VALUES = 3

# Seconds of each round, by clock and calls: one process.
Times = dict[str, dict[int, list[float]]]


@dataclass(frozen=True)
class Slot:
    """Four processes that took turns.

    Attributes:
        seconds: how long they took, start included.
        processes: what each measured.
    """

    seconds: float
    processes: list[Times]

    def minutes(self) -> float:
        """Minutes that it would have taken with one work in each process."""
        others = sum(sum(map(sum, each["wall"].values())) - sum(each["wall"][BASE]) for each in self.processes)
        return (self.seconds - others) / 60


@dataclass(frozen=True)
class Pool:
    """What was measured, one slot after the other.

    Attributes:
        load: load processes beside it.
        machine: where.
        slots: in the order of time.
    """

    load: int
    machine: dict[str, Any]
    slots: list[Slot]


POOL, TIMES = TypeAdapter(Pool), TypeAdapter(Times)
# A process as the base and as the head, and those of a stretch, slot by slot.
Process = tuple[list[float], list[float]]
Stretch = Sequence[Sequence[Process]]
# `pass`, `worse` or `inconclusive`.
Decide = Callable[[Stretch], str]


def process(ask: int, granted: int) -> None:
    """Measure all works in turns with other processes, and print the times."""
    from planted_block import call_of

    take_turns(ask, granted)
    assert interleave.its_turn is not None
    calls = {times: call_of(times) for times in HEADS.values()}
    made: Times = {clock: {times: [] for times in calls} for clock in CLOCKS}
    for round_ in range(-1, ROUNDS):
        interleave.its_turn()
        for times in random.sample([*calls], len(calls)):
            for _ in range(WARM_UP_CALLS if round_ < 0 else 1):
                wall, cpu = time.perf_counter(), time.thread_time()
                calls[times]()
                cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            if round_ >= 0:
                made["wall"][times].append(wall)
                made["cpu"][times].append(cpu)
    print(TIMES.dump_json(made).decode())


def slot() -> Slot:
    """Start four processes and let them measure in turns."""
    begin = time.monotonic()
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        logs = [Path(name, str(number)) for number in range(4)]
        words = [sys.executable, __file__, "--process"]
        ends = turn_taking.run([turn_taking.Start(words, variables, None, log, LIMIT_S) for log in logs])
        texts = [log.read_text(encoding="utf-8") for log in logs]
    if ends != [0] * len(ends):
        raise RuntimeError("\n".join(texts))
    return Slot(time.monotonic() - begin, [TIMES.validate_json(text.splitlines()[-1]) for text in texts])


def measure(path: Path, minutes: float, processes: int) -> None:
    """Measure a pool and write it, also where it is interrupted."""
    made, until = list[Slot](), time.monotonic() + 60 * minutes
    try:
        with load.load(processes):
            while (left_s := until - time.monotonic()) > 0:
                print(f"\r{len(made)} slots, {left_s:.0f} s left ", end="", file=sys.stderr, flush=True)
                made.append(slot())
    finally:
        print(file=sys.stderr)
        if made:
            path.write_bytes(POOL.dump_json(Pool(processes, environment.collect(), made)))


def stretches(slots: Sequence[Slot], minutes: float) -> list[slice]:
    """All stretches that took so many minutes, one from each slot on that has enough behind it."""
    ends = [0.0, *itertools.accumulate(each.minutes() for each in slots)]
    lasts = (bisect.bisect_left(ends, begin + minutes) for begin in ends)
    return [slice(first, last) for first, last in enumerate(lasts) if last <= len(slots)]


def seen(pool: Pool, clock: str, head: int) -> Stretch:
    """What a tool sees of a pool by a clock, where the head makes so many calls."""
    return [[(each[clock][BASE], each[clock][head]) for each in made.processes] for made in pool.slots]


def halves(stretch: Stretch) -> tuple[list[list[float]], list[list[float]]]:
    """Processes of the base, then as many of the head."""
    flat = [each for made in stretch for each in made]
    half = len(flat) // 2
    return [base for base, _ in flat[:half]], [head for _, head in flat[half : 2 * half]]


def in_turn(stretch: Stretch) -> tuple[list[list[float]], list[list[float]]]:
    """Processes of the base, each after one of the head: asv begins with the head."""
    flat = [each for made in stretch for each in made]
    return [base for base, _ in flat[1::2]], [head for _, head in flat[: len(flat) // 2 * 2 : 2]]


# The processes that stand for the base's two and the head's two, in the blocks with an even number and in the others.
ORDERS = ((0, 3, 1, 2), (1, 2, 0, 3))


def blocks(stretch: Stretch) -> tuple[dict[int, float], dict[int, float]]:
    """The effect of each block, on the log scale, above 0 where the head is faster; and that of the base against itself."""
    made = list[list[list[float]]]()
    for number, four in enumerate(stretch):
        of = [four[i] for i in ORDERS[number % 2]]
        made.append([[math.log(time) for time in each[which > 1]] for which, each in enumerate(of)])
    own, control = ab.effects(made, None)
    return dict(own.wall), dict(control.wall)


def pyperf(min_speed: float | None) -> Decide:
    """`pyperf compare_to`, with `--min-speed` or without."""
    compare, package = importlib.import_module("pyperf._compare"), importlib.import_module("pyperf")

    def side(processes: list[list[float]]) -> Any:
        runs = []
        for times in processes:
            size = len(times) // PYPERF_VALUES
            values = [fmean(times[i * size : (i + 1) * size]) for i in range(PYPERF_VALUES)]
            runs.append(package.Run(values, metadata={"name": "block"}, collect_metadata=False))
        return compare.CompareData("block", package.Benchmark(runs))

    def decide(stretch: Stretch) -> str:
        found = compare.CompareResult(*map(side, halves(stretch)), min_speed)
        return "worse" if found.significant and found.norm_mean > 1 else "pass"

    return decide


def asv(factor: float) -> Decide:
    """`asv continuous --interleave-rounds`, with its statistical test, as it does unless told otherwise."""
    is_better = importlib.import_module("asv.commands.compare")._is_result_better
    compute = importlib.import_module("asv_runner.statistics").compute_stats

    def decide(stretch: Stretch) -> str:
        sides = [[value for times in processes for value in times] for processes in in_turn(stretch)]
        (base, head), stats = zip(*(compute(samples, 1) for samples in sides), strict=True)
        both = zip(stats, sides, strict=True)
        return "worse" if is_better(base, head, *both, factor) else "pass"

    return decide


def benchstats() -> Decide:
    """`benchstats BASE HEAD`: Brunner and Munzel's test at 0.001, on the mean of each process."""
    compare = importlib.import_module("benchstats.compare").compareStats

    def decide(stretch: Stretch) -> str:
        base, head = ({"block": {"s": [fmean(times) for times in side]}} for side in halves(stretch))
        found = compare(base, head, debug_log=False).results["block"].get("s")
        return UNDECIDED if found is None else "worse" if found.result == "<" else "pass"

    return decide


def modbench(stretch: Stretch) -> str:
    """The analyses of `modbench ab` of these blocks, of which as many were planned as there are."""
    found, control = blocks(stretch)
    if len(found) < interim.FEWEST:
        return UNDECIDED
    plan, check = interim.schedule(len(found)), fail_on.parse([f"slower:{MARGIN:.0%}"])
    signs = {number: (-1) ** (number // 2) for number in found}
    for i, n in enumerate(plan):
        own, same = (Effects({number: each[number] for number in range(n)}) for each in (found, control))
        measured = Row("block", "s", blocks=own, alike=same)
        (row,) = ab.judge([measured], MARGIN, check, interim.analysis_at(i + 1, plan), signs)
        if row.check != UNDECIDED:
            return "worse" if row.check == verdicts.FAIL else "pass"
    return UNDECIDED


# Name to the clock, and what makes the rule from the tool's code.
WAYS: dict[str, tuple[str, Callable[[], Decide]]] = {
    f"modbench `ab`, `slower:{MARGIN:.0%}`": ("wall", lambda: modbench),
    f"modbench `ab`, `cpu:{MARGIN:.0%}`": ("cpu", lambda: modbench),
    "pyperf `compare_to`": ("wall", lambda: pyperf(None)),
    f"pyperf `compare_to --min-speed={100 * MARGIN:g}`": ("wall", lambda: pyperf(100 * MARGIN)),
    "asv `continuous`, factor 1.1": ("wall", lambda: asv(1.1)),
    f"asv `continuous`, factor {1 + MARGIN:g}": ("wall", lambda: asv(1 + MARGIN)),
    "benchstats, p < 0.001": ("wall", benchstats),
}


def table(pools: Sequence[Pool], lengths: Sequence[float], ways: dict[str, tuple[str, Callable[[], Decide]]]) -> str:
    """A Markdown table; a cell has the shares of gates that called the head worse and that let it pass."""
    heads = ["beside", "minutes", "gates (apart)", "way", *(f"{each}: *worse* / passes" for each in HEADS)]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for pool in pools:
        for minutes in lengths:
            made = stretches(pool.slots, minutes)
            gates = f"{len(made)} ({math.floor(sum(each.minutes() for each in pool.slots) / minutes)})"
            for way, (clock, rule) in ways.items():
                try:
                    decide = rule()
                    cells = [_cell([decide(seen(pool, clock, head)[each]) for each in made]) for head in HEADS.values()]
                except ImportError as error:
                    cells = [f"not installed ({error.name})", *["–"] * (len(HEADS) - 1)]
                beside = f"{pool.load} processes" if pool.load else "nothing"
                lines.append(f"| {' | '.join([beside, f'{minutes:g}', gates, way, *cells])} |")
    return "\n".join(lines)


def spread(pool: Pool) -> str:
    """How much blocks of a pool spread, and what it says of each head by wall time: its gates share what chance made of it."""
    known = {name: [*blocks(seen(pool, "wall", calls))[0].values()] for name, calls in HEADS.items()}
    said = [f"{name} {fmean(each):+.1%} ± {stdev(each) / math.sqrt(len(each)):.2%}" for name, each in known.items()]
    made = known["equal"]
    return f"{len(made)} blocks, which spread by {stdev(made):.1%}; effect and standard error: {', '.join(said)}"


def _cell(words: Sequence[str]) -> str:
    return " / ".join(f"{words.count(word) / len(words):.0%}" if words else "–" for word in ("worse", "pass"))


def main() -> None:
    """Measure the pools that are not there, and print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="+", type=Path, metavar="POOL", help="a JSON file; measured if it is not there")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to measure (%(default)s)")
    parser.add_argument("--load", type=int, default=0, help="load processes beside it (%(default)s)")
    parser.add_argument("--gates", default="1,2,4", help="minutes of a gate (%(default)s)")
    asked = parser.parse_args()
    for path in asked.pools:
        if not path.exists():
            measure(path, asked.minutes, asked.load)
    made = [POOL.validate_json(path.read_bytes()) for path in asked.pools]
    for path, pool in zip(asked.pools, made, strict=True):
        print(f"{path.name}: {spread(pool)}")
    print(table(made, [float(each) for each in asked.gates.split(",")], WAYS))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        process(*map(int, sys.argv[2:]))
    else:
        main()
