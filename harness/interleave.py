"""Interleaved timing: rounds of blocks in which arms stand beside their anchor, forwards and then backwards.

Timing A and then B was wrong by up to 51 % on a shared machine; blocks of the anchor and at most three arms, visited in
random order and then in reverse, cancel drift inside the block (Abedi & Brecht, ICPE 2017). No torch in here: the clock and
the calls are given, so that a test can plant an effect and a fake clock.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence

ARMS_PER_BLOCK = 3
# Long enough that reading the clocks costs under 0.1 % of a sample.
SHORTEST_SAMPLE_S = 2e-3

Call = Callable[[int], object]
Samples = dict[str, list[float]]
COLUMNS = ("round", "block", "position", "calls", "wall_s", "cpu_s")


class Clock:
    """Wall time, CPU time of this thread, and the wait for a device.

    Args:
        synchronize: waits until the device is idle; None on a CPU, where calls return when they are done.
        threads: with more than one, CPU time is the whole process's.
    """

    def __init__(self, synchronize: Callable[[], None] | None = None, threads: int = 1) -> None:
        self.synchronize = synchronize or (lambda: None)
        self.cpu_s = time.thread_time if threads == 1 else time.process_time

    def wall_s(self) -> float:
        """Seconds of a monotonic clock."""
        return time.perf_counter()


def deal(arms: Sequence[str], anchor: str, rng: random.Random) -> list[list[str]]:
    """One round: blocks of the anchor and at most three other arms, each in random order followed by its reverse."""
    others = [arm for arm in arms if arm != anchor]
    rng.shuffle(others)
    groups = [others[i : i + ARMS_PER_BLOCK] for i in range(0, len(others), ARMS_PER_BLOCK)] or [[]]
    blocks = []
    for group in groups:
        block = [arm for arm in (anchor, *group) if arm in arms]
        rng.shuffle(block)
        blocks.append(block + block[::-1])
    return blocks


def measure(
    calls: dict[str, Call],
    anchor: str,
    *,
    rounds: int,
    rng: random.Random,
    clock: Clock,
    warm_up_calls: int,
    on_error: Callable[[str, BaseException], None],
    survivable: tuple[type[BaseException], ...] = (Exception,),
) -> dict[str, Samples]:
    """Time all arms of one comparison in this process.

    Args:
        calls: arm to a function that runs it once on the input of the given number.
        anchor: the arm that stands in every block.
        rounds: how often every arm is visited, twice each time.
        rng: draws the orders.
        clock: what to read.
        warm_up_calls: calls of every arm before the first block.
        on_error: told at once of an arm that raised; the arm is let go, so that what it calls does not weigh on the others.
        survivable: what an arm may raise without ending the others.

    Returns:
        Arm to columns `round, block, position, calls, wall_s, cpu_s`, times per call; an arm that raised has none.
    """
    samples: dict[str, Samples] = {}
    repeats: dict[str, int] = {}
    for arm in list(calls):
        try:
            repeats[arm] = _warm_up(calls[arm], warm_up_calls, clock)
            samples[arm] = {name: [] for name in COLUMNS}
        except survivable as error:
            del calls[arm]
            on_error(arm, error)
    number = 0
    for round_ in range(rounds):
        for block in deal(list(calls), anchor, rng):
            for position, arm in enumerate(block):
                if arm not in calls:
                    continue
                try:
                    wall, cpu = _timed(calls[arm], number, repeats[arm], clock)
                except survivable as error:
                    del calls[arm], samples[arm]
                    on_error(arm, error)
                    continue
                row = (round_, number, position, repeats[arm], wall, cpu)
                for name, value in zip(COLUMNS, row, strict=True):
                    samples[arm][name].append(value)
            number += 1
    return samples


def _warm_up(call: Call, calls: int, clock: Clock) -> int:
    """Run a call a few times; how many of it make a sample that is long enough to time."""
    shortest = min(_timed(call, number, 1, clock)[0] for number in range(calls))
    return max(1, min(1000, math.ceil(SHORTEST_SAMPLE_S / max(shortest, 1e-9))))


def _timed(call: Call, number: int, repeats: int, clock: Clock) -> tuple[float, float]:
    """Wall and CPU seconds per call, the device idle before and after."""
    clock.synchronize()
    wall, cpu = clock.wall_s(), clock.cpu_s()
    for _ in range(repeats):
        call(number)
    clock.synchronize()
    return (clock.wall_s() - wall) / repeats, (clock.cpu_s() - cpu) / repeats
