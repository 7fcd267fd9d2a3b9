"""Which clock decides: wall time where it can, CPU time where the machine was disturbed and CPU time stands for the work."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modbench.harness.stats import contamination, paired, verdicts
from modbench.harness.stats.effects import Effect, over_launches
from modbench.harness.stats.paired import LaunchSamples
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import Disturbed, Estimates
from modbench.harness.timing import in_process_verdicts
from modbench.harness.timing.callables import Launch, time_callables

MARGIN = 0.02


def near(percent: float, spread: float = 0.2) -> Effect:
    """An effect of so many percent over five launches that differ by `spread` percent."""
    return over_launches([(percent + spread * step) / 100 for step in (-1, -0.5, 0, 0.5, 1)])


SLOWER, FASTER, EQUAL, OPEN = near(-4), near(4), near(0), near(0, 20)


@pytest.mark.parametrize(
    ("wall", "clean", "cpu", "share", "word", "by_cpu"),
    [
        (SLOWER, None, None, 0.9, "worse", False),  # nothing speaks against it
        (SLOWER, OPEN, OPEN, 0.9, "worse", False),  # an undecided estimate vetoes nothing
        (SLOWER, SLOWER, SLOWER, 0.9, "worse", False),
        (SLOWER, EQUAL, None, 0.1, "contaminated", False),
        (SLOWER, FASTER, None, 0.1, "contaminated", False),
        (EQUAL, SLOWER, None, 0.1, "contaminated", False),
        (SLOWER, EQUAL, None, 0.0, "worse", False),  # nothing was disturbed
        (SLOWER, EQUAL, OPEN, 0.1, "contaminated", False),
        (SLOWER, EQUAL, EQUAL, 0.1, "equivalent", True),
        (SLOWER, None, EQUAL, 0.9, "equivalent", True),
        (SLOWER, None, FASTER, 0.9, "better", True),
        (OPEN, None, SLOWER, 0.9, "worse", True),
        (OPEN, None, EQUAL, 0.9, "equivalent", True),
        (OPEN, None, SLOWER, 0.4, "inconclusive", False),  # more launches would decide it by wall time
        (OPEN, None, OPEN, 0.9, "inconclusive", False),
    ],
)
def test_wall_time_decides_where_it_can(
    wall: Effect, clean: Effect | None, cpu: Effect | None, share: float, word: str, by_cpu: bool
) -> None:
    disturbed = Disturbed(share, clean, None if cpu is None else Estimates(cpu))
    found = verdicts.judge(Estimates(wall), MARGIN, disturbed)
    assert (found.word, found.by_cpu) == (word, by_cpu)
    # CPU time that does not stand for the work neither decides nor vetoes.
    unfit = disturbed._replace(unfit=Reason("waits", share=0.5))
    judged = verdicts.judge(Estimates(wall), MARGIN, unfit)
    assert judged == verdicts.judge(Estimates(wall), MARGIN, unfit._replace(cpu=None))
    assert not judged.by_cpu
    mirrored = disturbed._replace(
        clean=clean and clean.mirrored(), cpu=None if cpu is None else Estimates(cpu.mirrored())
    )
    other = verdicts.judge(Estimates(wall.mirrored()), MARGIN, mirrored)
    assert other.word == {"better": "worse", "worse": "better"}.get(word, word)


@pytest.mark.parametrize(
    ("wall", "clean", "cpu", "share", "word", "by_cpu"),
    [
        (SLOWER, None, near(-3), 0.9, "worse", False),  # CPU time says the same at the user's margin
        (SLOWER, SLOWER, OPEN, 0.9, "worse", False),
        (SLOWER, OPEN, OPEN, 0.9, "inconclusive", False),
        (SLOWER, OPEN, OPEN, 0.4, "worse", False),
        (EQUAL, None, OPEN, 0.9, "inconclusive", False),
        (SLOWER, None, near(-8), 0.9, "worse", False),
        (OPEN, None, near(-8), 0.9, "worse", True),
        (OPEN, None, near(-4), 0.9, "inconclusive", False),  # within 5 %
        (SLOWER, None, EQUAL, 0.9, "contaminated", False),
        (SLOWER, None, None, 0.9, "worse", False),
    ],
)
def test_one_process_needs_a_second_witness(
    wall: Effect, clean: Effect | None, cpu: Effect | None, share: float, word: str, by_cpu: bool
) -> None:
    disturbed = Disturbed(share, clean, None if cpu is None else Estimates(cpu), least=in_process_verdicts.CPU_MARGIN)
    found = verdicts.judge(Estimates(wall), MARGIN, disturbed)
    assert (found.word, found.by_cpu) == (word, by_cpu)


def test_a_difference_by_cpu_time_that_decides_nothing_is_said() -> None:
    """It is shown, but not whether by more than the margin."""
    different = near(-2, 1)
    assert verdicts.verdict(different, MARGIN) == "different"
    found = verdicts.judge(Estimates(SLOWER), MARGIN, Disturbed(0.9, EQUAL, Estimates(different)))
    assert (found.word, found.by_cpu) == ("contaminated", False)
    assert found.reason is not None
    assert found.reason.given["other"] == Reason("cpu_undecided", ratio=different.ratio)


def test_typical_calls_and_the_mean_decide_by_cpu_time_too() -> None:
    apart = near(-3)
    cpu = Estimates(EQUAL, SLOWER, apart)
    found = verdicts.judge(Estimates(OPEN), MARGIN, Disturbed(0.9, cpu=cpu))
    assert (found.word, found.by_cpu) == ("different", True)
    assert found.reason == Reason("by_cpu", why=Reason("disturbed", share=0.9))


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


def pair_of(arm: dict[str, list[float]], launches: int = 3) -> paired.Paired:
    base = columns(10)
    made = [LaunchSamples(arm, None, base, {"block": [], "wall_s": []})] * launches
    return paired.compare(made, one_thread=True)


def test_an_arm_that_waits_for_a_processor_is_judged_by_cpu_time() -> None:
    found = pair_of(columns(20, waits=0.5))
    assert found.unfit is None
    judged = found.judged(MARGIN)
    assert (judged.word, judged.by_cpu) == ("equivalent", True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"blocked_s": 0.02}, paired.MOST_BLOCKED),
        ({"others_s": 0.03}, paired.MOST_OTHERS),
        ({"blocked_s": 0.005, "others_s": 0.01}, None),
    ],
)
def test_cpu_time_that_does_not_stand_for_the_work_decides_nothing(more: dict[str, float], said: float | None) -> None:
    found = pair_of(columns(20, waits=0.5, **more))
    assert (found.unfit is None) is (said is None)
    assert found.judged(MARGIN).by_cpu is (said is None)
    # The same in what it is compared with.
    other = paired.compare(
        [LaunchSamples(columns(20, waits=0.5), columns(10, **more), columns(10), {"block": [], "wall_s": []})] * 3,
        one_thread=True,
    )
    assert (other.unfit is None) is (said is None)


def test_samples_without_these_columns_and_several_threads_decide_nothing_by_cpu_time() -> None:
    arm = columns(20, waits=0.5)
    del arm["blocked_s"]
    assert pair_of(arm).unfit == verdicts.NOT_RECORDED
    made = [LaunchSamples(columns(20), None, columns(10), {"block": [], "wall_s": []})] * 3
    assert paired.compare(made, one_thread=False).unfit == paired.SEVERAL_THREADS


@pytest.mark.parametrize(
    ("slower", "word"), [(1.0, "inconclusive"), (1.03, "inconclusive"), (1.1, "worse"), (0.9, "better")]
)
def test_one_process_is_judged_by_cpu_time_beyond_five_percent(slower: float, word: str) -> None:
    """Wall time scatters too much to tell anything; CPU time does not."""
    base, arm = columns(10), columns(10)
    for samples, factor, turn in ((base, 1.0, 0), (arm, slower, 5)):
        samples["cpu_s"] = [factor * each for each in samples["cpu_s"]]
        spoilt = [each * (1 + (i * 7919 % 13)) for i, each in enumerate(samples["cpu_s"])]
        samples["wait_s"] = [0.9 * wall for wall in spoilt]
        samples["wall_s"] = spoilt[turn:] + spoilt[:turn]
    launch = Launch("base", {"base": base, "arm": arm})
    found = in_process_verdicts.judge([launch], margin=MARGIN)["arm"]
    assert found.verdict == word
    assert ("by CPU time" in found.labels) is (word in {"better", "worse"})
    if word == "worse":
        assert found.ratio == pytest.approx(1 / slower)
        assert found.reason is not None
        assert found.reason.given["other"] == Reason("one_process_beyond", least=in_process_verdicts.CPU_MARGIN)
    escaped = in_process_verdicts.judge([launch], margin=MARGIN, escaped={"arm": "does not compute every call"})["arm"]
    assert escaped.verdict == "inconclusive"
    # Of three processes the margin is the user's own.
    three = in_process_verdicts.judge([launch] * 3, margin=MARGIN)["arm"]
    assert three.verdict == ("equivalent" if slower == 1.0 else "worse" if slower > 1 else "better")


def _computes() -> None:
    sum(i * i for i in range(100_000))


def _sleeps() -> None:
    _computes()
    time.sleep(0.005)


def _uses_a_thread() -> None:
    thread = threading.Thread(target=_computes)
    thread.start()
    thread.join()


def _waits_for_a_file() -> None:
    _computes()
    read, write = os.pipe()
    timer = threading.Timer(0.005, os.write, (write, b"x"))
    timer.start()
    os.read(read, 1)
    timer.join()
    os.close(read)
    os.close(write)


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="what Linux exposes")
@pytest.mark.parametrize("arm", [_sleeps, _uses_a_thread, _waits_for_a_file])
def test_arms_whose_work_or_waiting_cpu_time_does_not_see(arm: Callable[[], None]) -> None:
    """They are seen in this process, whatever else runs: CPU time decides nothing, whatever wall time says."""
    launch = time_callables({"base": _computes, "arm": arm}, rounds=6)
    assert paired.unfit([[launch.samples["arm"]]]) not in {None, verdicts.NOT_RECORDED}
    # As if every sample had waited for a processor as well.
    samples = {
        name: {**each, "wait_s": [wall * calls for wall, calls in zip(each["wall_s"], each["calls"], strict=True)]}
        for name, each in launch.samples.items()
    }
    busy = replace(launch, samples=samples)
    assert contamination.share_of_blocks(samples["arm"]) == 1
    for launches in ([busy], [busy] * 3):
        found = in_process_verdicts.judge(launches, margin=MARGIN)["arm"]
        assert "by CPU time" not in found.labels
    assert math.isfinite(found.effect.value)
