"""The block design with a fake clock: who is visited when, how long, what witnesses note, and what an exception costs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moving_clock import FakeClock

from modbench.harness.call.timing.interleave import Call, Effort, Measured, Session, Stopwatch, deal
from modbench.harness.domain.case import VARIANTS_PER_BLOCK
from modbench.harness.machine.counter_sampler import CounterSampler
from modbench.harness.results.measured_or_missing import SURVIVABLE


@pytest.fixture
def clock() -> FakeClock:
    """Of a device; half of its time is CPU time."""
    made = FakeClock(on_device=True)
    made.cpu_s = lambda: made.now / 2
    return made


def measure(clock: FakeClock, effort: Effort | int, calls: dict[str, Call] | Call, **more: Any) -> Measured:
    """A session of the given effort, or of so many rounds; the first variant, or the only one, is the anchor."""

    def never(variant: str, error: BaseException) -> None:
        raise AssertionError(f"{variant} raised") from error

    each = calls if isinstance(calls, dict) else {"a": calls}
    asked: dict[str, Any] = {"rng": random.Random(0), "clock": clock, "on_error": never} | more
    return Session(each, next(iter(each)), **asked).measure(Effort(effort) if isinstance(effort, int) else effort)


def takes(clock: FakeClock, seconds: float, each: Callable[[], object] = lambda: None, *, drift: float = 0.0) -> Call:
    """A call that takes so many seconds, and does something besides."""
    pass_time = clock.takes(seconds, drift=drift)

    def call(_number: int) -> None:
        pass_time()
        each()

    return call


@given(n=st.integers(1, 12), seed=st.integers(0, 999))
def test_every_variant_once_a_round_beside_the_anchor_there_and_back(n: int, seed: int) -> None:
    variants = [f"variant{i}" for i in range(n)]
    blocks = deal(variants, "variant0", random.Random(seed))
    for block in blocks:
        half = block[: len(block) // 2]
        assert block == half + half[::-1]
        assert "variant0" in half
        assert len(half) <= 1 + VARIANTS_PER_BLOCK
    visits = Counter(variant for block in blocks for variant in block)
    assert all(visits[variant] == 2 for variant in variants[1:])
    assert visits["variant0"] == 2 * len(blocks)
    assert deal(variants, "variant0", random.Random(seed)) == blocks
    assert n < 9 or deal(variants, "variant0", random.Random(seed + 1)) != blocks


# --- samples


def test_samples_are_what_the_clock_said(clock: FakeClock) -> None:
    """Per call, however many short ones a sample repeats; the device is idle before and after each, warm-up included."""
    samples = measure(clock, 3, {"anchor": takes(clock, 0.010), "variant": takes(clock, 0.005)}).samples
    assert samples["anchor"]["wall_s"] == pytest.approx([0.010] * 6)
    assert samples["variant"]["wall_s"] == pytest.approx([0.005] * 6)
    assert samples["variant"]["cpu_s"] == pytest.approx([0.0025] * 6)
    assert sorted(set(samples["variant"]["block"])) == [0, 1, 2]
    assert clock.synchronized == 2 * (2 + 12)
    short = measure(clock, 1, takes(clock, 0.00045)).samples["a"]
    assert short["calls"] == [5, 5]
    assert short["wall_s"] == pytest.approx([0.00045] * 2)


@pytest.mark.parametrize(("waits_s", "calls"), [(0.0, 1), (3e-3, 2), (3.9e-3, 4), (9e-3, 4)])
def test_waiting_for_a_processor_is_no_part_of_a_call(waits_s: float, calls: int) -> None:
    """Calls of 4 ms, half a millisecond of which is CPU time: as many are repeated as fill 2 ms of their own."""
    clock, waited = FakeClock(), [0.0]
    clock.cpu_s = lambda: clock.now / 8
    call = takes(clock, 4e-3, lambda: waited.append(waited[-1] + waits_s))
    found = measure(clock, 1, call, of_samples=CounterSampler({"wait_s": lambda: waited[-1]}))
    assert found.samples["a"]["calls"] == [calls] * 2


def test_a_call_may_time_its_own_parts(clock: FakeClock) -> None:
    def call(_number: int) -> object:
        watch = Stopwatch(clock)
        for name, seconds in (("one", 0.001), ("two", 0.003)):
            clock.now += seconds
            watch.lap(name)
        return watch.laps

    samples = measure(clock, 1, call).samples["a"]
    assert samples["one/wall_s"] == pytest.approx([0.001] * 2)
    assert samples["two/wall_s"] == pytest.approx([0.003] * 2)
    assert samples["two/cpu_s"] == pytest.approx([0.0015] * 2)
    watch = Stopwatch(clock)
    for i in range(1, 21):
        clock.now += i
        watch.lap(str(i))
    found = watch.quantiles({"p50": 0.5, "p95": 0.95})  # of the nearest rank
    assert (found["p50/wall_s"], found["p95/wall_s"]) == pytest.approx((10, 19))


def test_all_variants_get_the_same_input_in_a_round_and_all_inputs_equally_often(clock: FakeClock) -> None:
    """Seven variants stand in three blocks: numbered by block, a variant would meet some inputs more often than others."""
    seen: dict[str, list[int]] = {"anchor": [], **{f"variant{i}": [] for i in range(7)}}

    def noting(numbers: list[int]) -> Call:
        def call(number: int) -> None:
            numbers.append(number)
            clock.now += 0.01

        return call

    made = measure(clock, 6, {name: noting(numbers) for name, numbers in seen.items()}, inputs=3)
    rounds = seen["variant0"][1:]  # after one call to warm up
    assert all(numbers[1:] == rounds for name, numbers in seen.items() if name != "anchor")
    assert sorted(rounds[:6]) == sorted(rounds[6:]) == [0, 0, 1, 1, 2, 2]
    assert made.samples["variant3"]["input"] == rounds
    assert Counter(made.samples["anchor"]["input"]) == {0: 12, 1: 12, 2: 12}


def test_witnesses_stand_beside_every_sample_and_block(clock: FakeClock) -> None:
    calls = Counter[str]()
    call = takes(clock, 0.01, lambda: calls.update(["made"]))
    of_samples = CounterSampler({"involuntary": lambda: 2.0 * calls["made"]})
    of_blocks = CounterSampler({"steal_s": lambda: 0.001 * calls["made"]}, {"load": lambda: 1.5})
    found = measure(clock, 3, {"a": call, "b": call}, of_samples=of_samples, of_blocks=of_blocks)
    assert found.samples["a"]["involuntary"] == [2.0] * 6
    assert found.blocks["block"] == [0, 1, 2]
    assert found.blocks["steal_s"] == pytest.approx([0.004] * 3)
    assert found.blocks["wall_s"] == pytest.approx([0.04] * 3)
    assert found.blocks["load"] == [1.5] * 3


@pytest.mark.parametrize("raised", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("when", [0, 5])
def test_a_variant_that_raises_loses_its_samples_and_nobody_else_does(
    raised: BaseException, when: int, clock: FakeClock
) -> None:
    """An interrupt ends the session."""
    made, errors = Counter[str](), dict[str, BaseException]()

    def fail() -> None:
        made.update(["calls"])
        if made["calls"] > when:
            raise raised

    calls: dict[str, Call] = {"anchor": takes(clock, 0.01), "bad": takes(clock, 0.01, fail), "good": takes(clock, 0.02)}

    def note(variant: str, error: BaseException) -> None:
        assert variant not in calls  # let go before anybody looks
        errors[variant] = error

    if isinstance(raised, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            measure(clock, 5, calls, on_error=note, survivable=SURVIVABLE)
        return
    samples = measure(clock, 5, calls, on_error=note, survivable=SURVIVABLE).samples
    assert errors == {"bad": raised}
    assert set(samples) == {"anchor", "good"}
    assert len(samples["good"]["wall_s"]) == 10


# --- warm-up, and what is not warm


def test_the_warm_up_lasts_as_long_as_it_was_told_and_until_the_devices_clock_has_settled(clock: FakeClock) -> None:
    measure(clock, Effort(1, warm_up_calls=3, warm_up_s=0.5), takes(clock, 0.01))
    assert clock.now == pytest.approx(0.5 + 0.02, abs=0.011)
    readings = iter([False] * 6 + [True])
    measure(clock, 1, takes(clock, 0.01), settled=lambda: next(readings))
    assert next(readings, None) is None


def test_the_warm_up_waits_until_nothing_compiles_any_more(clock: FakeClock) -> None:
    """Ten calls compile; three quiet ones must follow before anything is timed."""
    calls = Counter[str]()
    call = takes(clock, 0.01, lambda: calls.update(["made"]))
    found = measure(clock, 2, call, of_samples=CounterSampler({"recompiles": lambda: min(10.0, calls["made"])}))
    assert sum(found.samples["a"]["recompiles"]) == 0
    assert clock.now == pytest.approx((10 + 1 + 4) * 0.01)  # one quiet turn is what a single warm-up call asks for


@pytest.mark.parametrize(
    ("cools", "warmed_up_again", "unsteady"), [(0, False, False), (20, True, False), (200, True, True)]
)
def test_a_variant_that_was_not_warm_is_measured_again(
    cools: int, warmed_up_again: bool, unsteady: bool, clock: FakeClock
) -> None:
    """It starts 20 % slow, and is as fast as its anchor after so many calls: samples count from when it is steady."""
    left = [cools]

    def cooling(_number: int) -> None:
        clock.now += 0.01 * (1 + 0.2 * left[0] / max(1, cools))
        left[0] = max(0, left[0] - 1)

    found = measure(clock, 10, {"anchor": takes(clock, 0.01), "variant": cooling})
    assert ("variant" in found.warmed_up_again, "variant" in found.unsteady) == (warmed_up_again, unsteady)
    if unsteady:
        assert "drifted by -" in found.unsteady["variant"]
        assert "p = " in found.unsteady["variant"]
    else:
        assert found.samples["variant"]["wall_s"] == pytest.approx([0.01] * 20)


def test_a_machine_that_drifts_is_no_unsteady_variant(clock: FakeClock) -> None:
    """All variants slow down alike, by a factor of two: the ratio does not move, so nothing is measured again."""
    slow = takes(clock, 0.01, drift=2.0)
    found = measure(clock, 12, {"anchor": slow, "variant": slow})
    assert (found.unsteady, found.warmed_up_again) == ({}, {})
    assert max(found.samples["anchor"]["wall_s"]) > 1.5 * min(found.samples["anchor"]["wall_s"])


def test_in_turns_it_waits_before_the_warm_up_and_every_round_and_repeats_nothing(clock: FakeClock) -> None:
    asked = list[float]()

    def made(**more: Any) -> Measured:
        calls = {"anchor": takes(clock, 0.01), "variant": takes(clock, 0.01, drift=2.0)}
        return measure(clock, 12, calls, **more)

    found = made(wait_for_turn=lambda: asked.append(clock.now))
    assert len(asked) == 1 + 12
    assert asked[0] == 0.0
    assert (found.warmed_up_again, found.steadiness_tested) == ({}, False)
    assert made().warmed_up_again  # by itself the same variant is warmed up again
