"""Which clock decides: wall time where it can, CPU time where the machine was noisy and CPU time stands for the work."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import verdict_errors
from simulate import World, pairs

from modbench.harness.stats import noise, paired
from modbench.harness.stats.effects import Effect, over_processes
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import (
    MIRRORED,
    NOT_RECORDED,
    SEVERAL_THREADS,
    Contrast,
    Estimates,
    Rule,
    Seen,
    together,
)

MARGIN = 0.02


def near(percent: float, spread: float = 0.2) -> Effect:
    """An effect of so many percent over five processes that differ by `spread` percent."""
    return over_processes([(percent + spread * step) / 100 for step in (-1, -0.5, 0, 0.5, 1)])


SLOWER, FASTER, EQUAL, OPEN = near(-4), near(4), near(0), near(0, 20)
# Gaps between the clocks: none, shown and too small to matter, shown and inside half the margin, not shown but wide, large.
NONE, TINY, SHOWN, WIDE, LARGE = near(0, 0.1), near(0.1, 0.02), near(0.5, 0.1), near(0, 3), near(-4)
WAITS = Reason("waits", share=0.5)


def judged(wall: Effect, gap: Effect | None, cpu: Effect | None, seen: Seen) -> Contrast:
    """The only contrast of its family."""
    (found,) = together(
        [
            Contrast(
                "interleaved", Rule(margin=MARGIN), seen, Estimates(wall), None if cpu is None else Estimates(cpu), gap
            )
        ]
    )
    return found


@pytest.mark.parametrize(
    ("wall", "gap", "cpu", "share", "word", "by_cpu"),
    [
        (SLOWER, NONE, SLOWER, 0.9, "worse", False),  # the clocks agree, whatever else happened
        (SLOWER, NONE, OPEN, 0.9, "worse", False),
        (OPEN, NONE, SLOWER, 0.0, "inconclusive", False),
        (SLOWER, TINY, SLOWER, 0.0, "worse", False),
        (SLOWER, SHOWN, EQUAL, 0.0, "equivalent", True),
        (SLOWER, WIDE, EQUAL, 0.0, "equivalent", True),
        (SLOWER, LARGE, EQUAL, 0.1, "equivalent", True),
        (SLOWER, LARGE, FASTER, 0.9, "better", True),
        (OPEN, LARGE, SLOWER, 0.4, "worse", True),
        (SLOWER, LARGE, OPEN, 0.9, "inconclusive", True),
        (SLOWER, LARGE, near(-2, 1), 0.9, "worse_open", True),
        (near(-2, 1), LARGE, OPEN, 0.9, "inconclusive", True),  # that wall time is worse is not kept
    ],
)
def test_wall_time_decides_where_cpu_time_agrees_with_it(
    wall: Effect, gap: Effect, cpu: Effect, share: float, word: str, by_cpu: bool
) -> None:
    seen = Seen(share, unfit=None)
    found = judged(wall, gap, cpu, seen)
    assert (found.verdict, found.by_cpu, found.noisy) == (word, by_cpu, False)
    other = judged(wall.mirrored(), gap.mirrored(), cpu.mirrored(), seen)
    assert (other.verdict, other.by_cpu) == (MIRRORED.get(word, word), by_cpu)


@pytest.mark.parametrize(
    ("gap", "unfit", "share", "noisy"),
    [
        (NONE, NOT_RECORDED, 0.9, False),
        (SHOWN, NOT_RECORDED, 0.9, False),  # nothing else could decide: half the margin is enough
        (LARGE, NOT_RECORDED, 0.0, True),  # something moved wall time, and nobody knows what
        (LARGE, WAITS, 0.4, False),  # the variant waits of itself: that is its time
        (LARGE, WAITS, 0.6, True),
        (NONE, WAITS, 0.6, False),
        (None, SEVERAL_THREADS, 0.4, False),
        (None, SEVERAL_THREADS, 0.6, True),
    ],
)
def test_cpu_time_that_does_not_stand_for_the_work_decides_nothing(
    gap: Effect | None, unfit: Reason, share: float, noisy: bool
) -> None:
    for wall, word in ((SLOWER, "worse"), (near(-2, 1), "worse_open"), (EQUAL, "equivalent")):
        found = judged(wall, gap, None if gap is None else EQUAL, Seen(share, unfit))
        assert (found.verdict, found.noisy) == ("inconclusive" if noisy else word, noisy)
        assert not found.by_cpu


@pytest.mark.parametrize(
    ("wall", "gap", "cpu", "word", "by_cpu"),
    [
        (SLOWER, NONE, near(-3), "worse", False),  # at the user's margin
        (SLOWER, SHOWN, near(-3), "worse", False),
        (EQUAL, NONE, OPEN, "equivalent", False),
        (SLOWER, LARGE, OPEN, "inconclusive", True),
        (SLOWER, LARGE, EQUAL, "inconclusive", True),  # beyond 5 %, nothing is equivalent
        (SLOWER, LARGE, near(-8), "worse", True),
        (OPEN, LARGE, near(-4), "inconclusive", True),  # within 5 %
    ],
)
def test_one_process_is_judged_by_cpu_time_beyond_its_own_margin(
    wall: Effect, gap: Effect, cpu: Effect, word: str, by_cpu: bool
) -> None:
    found = judged(wall, gap, cpu, Seen(0.9, unfit=None, least=0.05))
    assert (found.verdict, found.by_cpu) == (word, by_cpu)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "noise",
        "busy processes",
        "waits in 80 % of one, 30 % of the other",
        "3 % waits in 90 % of one, 20 % of the other",
        "1 % waits in 90 % of one, 20 % of the other",
    ],
)
def test_the_clock_that_decides_holds_the_truth(name: str) -> None:
    """On small counts; `benchmarks/verdict_errors.py` prints the table of the documentation."""
    found = verdict_errors.judged(verdict_errors.CLOCKS[name], 1 + MARGIN, 150)
    assert found.held >= 0.9
    assert found.worse <= 0.06


def test_where_cpu_time_cannot_be_judged_most_of_the_blocks_decide() -> None:
    """Waits in most blocks of one variant, and no clock that would see them: nothing is claimed."""
    world = replace(World(), preempted=0.8, anchor_preempted=0.3)
    (found,) = pairs(world, [1.0], random.Random(0))
    assert found.seen.noisy > noise.MOST
    alone = judged(found.wall.effect, None, None, replace(found.seen, unfit=SEVERAL_THREADS))
    assert alone.effect.excludes_0
    assert (alone.verdict, alone.noisy) == ("inconclusive", True)


def columns(wall_ms: float, waits: float = 0.0, **more: float) -> dict[str, list[float]]:
    """Twelve blocks of two samples of one call, `waits` of whose wall time is spent waiting for a processor."""
    wall = [wall_ms / 1000 * (1 + 0.002 * (i % 5)) for i in range(24)]
    blocks = [float(i // 2) for i in range(24)]
    own = {"others_s": 0.0, "blocked_s": 0.0} | more
    return {
        "round": blocks,
        "block": blocks,
        "calls": [1.0] * 24,
        "wall_s": wall,
        "cpu_s": [each * (1 - waits) for each in wall],
        "wait_s": [each * waits for each in wall],
        **{name: [share * each * (1 - waits) for each in wall] for name, share in own.items()},
    }


def pair_of(
    variant: dict[str, list[float]], base: dict[str, list[float]] | None = None, *, one_thread: bool = True
) -> Contrast:
    made = [ProcessSamples(variant, base, columns(10), {"block": [], "wall_s": []})] * 3
    return paired.numbers(made, one_thread=one_thread).contrast(Rule(margin=MARGIN))


def test_a_variant_that_waits_for_a_processor_is_judged_by_cpu_time() -> None:
    found = pair_of(columns(20, waits=0.5))
    assert found.seen.unfit is None
    assert (found.verdict, found.by_cpu) == ("equivalent", True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"blocked_s": 0.02}, paired.MOST_BLOCKED),
        ({"others_s": 0.03}, paired.MOST_OTHERS),
        ({"blocked_s": 0.005, "others_s": 0.01}, None),
    ],
)
def test_work_that_the_clock_of_the_thread_does_not_see(more: dict[str, float], said: float | None) -> None:
    found = pair_of(columns(20, waits=0.5, **more))
    assert (found.seen.unfit is None) is (said is None)
    assert found.by_cpu is (said is None)
    # The same in what it is compared with.
    other = pair_of(columns(20, waits=0.5), columns(10, **more))
    assert (other.seen.unfit is None) is (said is None)


def test_samples_without_these_columns_and_several_threads_decide_nothing_by_cpu_time() -> None:
    variant = columns(20, waits=0.5)
    del variant["blocked_s"]
    assert pair_of(variant).seen.unfit == NOT_RECORDED
    assert pair_of(columns(20), one_thread=False).seen.unfit == SEVERAL_THREADS
