"""How often does the time to a target err? Planted curves and times, judged by `modbench ab commands` as it judges real ones.

    python benchmarks/to_target.py                   # some minutes on one core
    python benchmarks/to_target.py --repeats 50      # does it run? the figures say little

Nothing is timed. A run prints a loss every 50 steps for 1,000 steps; runs differ by 1 % in time and 1 % in how fast they learn.
Each comparison plans 16 blocks with interim analyses. Prints as Markdown what data/to_target.csv holds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from printing import head, row

from modbench.harness.stats import interim
from modbench.plugins.ab import question
from modbench.plugins.ab.compared import Asked
from modbench.plugins.ab.printed import Reads, Target
from modbench.plugins.ab.to_target import Point
from modbench.plugins.ab.two_commands import Commands, Process

TARGET = Target(name="val_loss", better="lower", value=3.28, curve="(x) (y)")
BLOCKS, MARGIN = 16, 0.02
STEPS = np.arange(50, 1001, 50)
SPREAD, NOISE = 0.01, 0.005


class Planted(NamedTuple):
    """How the new side differs from the base.

    Attributes:
        step: time of one of its steps, as a share of the base's.
        learns: steps that it needs, as a share.
        start_s: what its start takes longer.
        noise: standard deviation of a printed loss.
        floor: what the loss falls to; above the target nothing is ever reached.
    """

    step: float = 1.0
    learns: float = 1.0
    start_s: float = 0.0
    noise: float = NOISE
    floor: float = 3.0


CASES = {
    "equal": Planted(),
    "a step takes 1 % longer": Planted(step=1.01),
    "a step takes 3 % longer": Planted(step=1.03),
    "starts 3 s later, needs 10 % fewer steps": Planted(start_s=3.0, learns=0.9),
    "new never reaches it": Planted(floor=3.3),
    "equal, noisy validation": Planted(noise=0.03),
}


def run(drawn: np.random.Generator, new: Planted, *, ours: bool) -> Process:
    """A run of one side, with a start of 5 s and steps of 0.1 s."""
    step, learns, start_s, floor = (new.step, new.learns, new.start_s, new.floor) if ours else (1.0, 1.0, 0.0, 3.0)
    step_s = 0.1 * step * math.exp(drawn.normal(0, SPREAD))
    wall = 5 + start_s + step_s * STEPS
    scale = 200 * learns * math.exp(drawn.normal(0, SPREAD))
    loss = floor + 2 * np.exp(-STEPS / scale) + drawn.normal(0, new.noise, len(STEPS))
    points = tuple(Point(*each) for each in zip(*(each.tolist() for each in (STEPS, loss, wall, wall)), strict=True))
    took = {"wall_s": wall[-1], "cpu_s": wall[-1], "main_s": wall[-1], "delay_s": 0.0}
    return Process(**took, rss_bytes=1, tree_bytes=1, tree_why=None, code=0, points=points)


def expected(new: Planted) -> float | None:
    """The planted ratio of times to the target: of the means of logs, which noise of 1 % moves by less than 0.01 %."""
    if new.floor >= TARGET.value:
        return None
    steps = 200 * math.log(2 / (TARGET.value - 3))
    return (5 + 0.1 * steps) / (5 + new.start_s + 0.1 * new.step * new.learns * steps)


def judged(drawn: np.random.Generator, new: Planted, *, early: bool) -> question.Row:
    """The row of the time to the target, at the analysis that decides it, or at the last one."""
    blocks = list[list[Process]]()
    planned = interim.schedule(BLOCKS) if early else (BLOCKS,)
    commands = Commands(("base", "new"), ((), ()), Asked(MARGIN), Path(), 0.0, Reads(target=TARGET))
    for number, n in enumerate(planned, 1):
        blocks += [[run(drawn, new, ours=side > 1) for side in range(4)] for _ in range(n - len(blocks))]
        analysis = interim.analysis_at(number, planned) if early else interim.ONE
        found = question.judge(commands.compare(blocks), MARGIN, None, analysis)[0]
        if not found.open:
            break
    return found


def table(repeats: int) -> Iterator[tuple[object, ...]]:
    """Yield how often each case has which verdict, how far off its ratio is, and how often its interval holds the planted one."""
    for name, new in CASES.items():
        drawn, truth = np.random.default_rng(0), expected(new)
        words = [judged(drawn, new, early=True).verdict for _ in range(repeats)]
        said = [f"{sum(word in each for word in words) / repeats:.1%}" for each in GROUPS]
        if truth is None:
            yield name, "–", *said, "–", "–"
            continue
        found = [judged(drawn, new, early=False).ratio for _ in range(repeats)]
        bias = math.exp(np.mean([math.log(each.value or math.nan) for each in found])) / truth - 1
        held = sum((each.low or 0) <= truth <= (each.high or 0) for each in found) / repeats
        yield name, f"{truth:.4f}", *said, f"{bias:+.2%}", f"{held:.3f}"


GROUPS = (("better",), ("worse",), ("better_open", "worse_open"), ("equivalent",), ("inconclusive",), (None,))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="comparisons of each case; default 1000")
    shown = ("faster", "slower", "size open", "equivalent", "inconclusive", "not compared")
    head("new side", "planted ratio", *shown, "bias", "CI holds it")
    for cells in table(parser.parse_args().repeats):
        row(*cells)
