"""The block design with a fake clock: who is visited when, how long, what witnesses note, and what an exception costs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.call.timing.interleave import Call, Clock, Effort, Measured, Session, Stopwatch, deal
from modbench.harness.domain.case import VARIANTS_PER_BLOCK
from modbench.harness.machine.counter_sampler import CounterSampler
from modbench.harness.results.measured_or_missing import SURVIVABLE


class FakeClock(Clock):
    """Time passes only when a variant says so."""

    def __init__(self) -> None:
        super().__init__(synchronize=self._note)
        self.now = 0.0
        self.synchronized = 0
        self.cpu_s = lambda: self.now / 2

    def _note(self) -> None:
        self.synchronized += 1

    def wall_s(self) -> float:
        return self.now

    def variant(self, seconds: float | Callable[[], float]) -> Callable[[int], None]:
        def call(_number: int) -> None:
            self.now += seconds() if callable(seconds) else seconds

        return call


def never(variant: str, error: BaseException) -> None:
    raise AssertionError(f"{variant} raised") from error


def measure(
    calls: dict[str, Call], clock: FakeClock, effort: Effort | int, *, on_error: Any = never, **more: Any
) -> Measured:
    """A session of the given effort, or of so many rounds; the first variant is the anchor."""
    session = Session(calls, next(iter(calls)), rng=random.Random(0), clock=clock, on_error=on_error, **more)
    return session.measure(Effort(effort) if isinstance(effort, int) else effort)


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


def test_in_turns_it_waits_before_the_warm_up_and_every_round_and_repeats_nothing() -> None:
    clock, asked = FakeClock(), list[float]()
    drifting = clock.variant(lambda: 0.01 + clock.now / 50)
    measured = measure(
        {"anchor": clock.variant(0.01), "variant": drifting}, clock, 12, wait_for_turn=lambda: asked.append(clock.now)
    )
    assert len(asked) == 1 + 12
    assert asked[0] == 0.0
    assert measured.warmed_up_again == {}
    assert not measured.steadiness_tested
    alone = measure({"anchor": clock.variant(0.01), "variant": clock.variant(lambda: 0.01 + clock.now / 50)}, clock, 12)
    assert alone.warmed_up_again  # by itself the same variant is warmed up again


def test_samples_are_what_the_clock_said() -> None:
    clock = FakeClock()
    samples = measure({"anchor": clock.variant(0.010), "variant": clock.variant(0.005)}, clock, 3).samples
    assert samples["anchor"]["wall_s"] == pytest.approx([0.010] * 6)
    assert samples["variant"]["wall_s"] == pytest.approx([0.005] * 6)
    assert samples["variant"]["cpu_s"] == pytest.approx([0.0025] * 6)
    assert sorted(set(samples["variant"]["block"])) == [0, 1, 2]
    assert clock.synchronized == 2 * (2 + 12)  # before and after every sample, warm-up included


def test_short_calls_are_repeated_and_reported_per_call() -> None:
    clock = FakeClock()
    samples = measure({"a": clock.variant(0.0004)}, clock, 1).samples
    assert samples["a"]["calls"] == [5, 5]
    assert samples["a"]["wall_s"] == pytest.approx([0.0004] * 2)


def test_all_variants_get_the_same_input_in_a_round_and_all_inputs_equally_often() -> None:
    """Seven variants stand in three blocks of a round: numbered by block, a variant would meet some inputs more often than
    others.
    """
    clock = FakeClock()
    seen: dict[str, list[int]] = {"anchor": [], **{f"variant{i}": [] for i in range(7)}}

    def noting(name: str) -> Callable[[int], None]:
        def call(number: int) -> None:
            seen[name].append(number)
            clock.now += 0.01

        return call

    made = measure({name: noting(name) for name in seen}, clock, 6, inputs=3)
    rounds = seen["variant0"][1:]  # after one call to warm up
    assert all(numbers[1:] == rounds for name, numbers in seen.items() if name != "anchor")
    assert sorted(rounds[:6]) == sorted(rounds[6:]) == [0, 0, 1, 1, 2, 2]
    assert made.samples["variant3"]["input"] == rounds
    assert Counter(made.samples["anchor"]["input"]) == {0: 12, 1: 12, 2: 12}


@pytest.mark.parametrize("raised", [ValueError("boom"), SystemExit(3)])
@pytest.mark.parametrize("when", [0, 5])
def test_a_variant_that_raises_loses_its_samples_and_nobody_else_does(raised: BaseException, when: int) -> None:
    clock = FakeClock()
    count = 0

    def failing(_number: int) -> None:
        nonlocal count
        clock.now += 0.01
        count += 1
        if count > when:
            raise raised

    calls: dict[str, Call] = {"anchor": clock.variant(0.01), "bad": failing, "good": clock.variant(0.02)}
    errors: dict[str, BaseException] = {}

    def note(variant: str, error: BaseException) -> None:
        assert variant not in calls  # let go before anybody looks
        errors[variant] = error

    samples = measure(calls, clock, 5, on_error=note, survivable=SURVIVABLE).samples
    assert errors == {"bad": raised}
    assert set(samples) == {"anchor", "good"}
    assert len(samples["good"]["wall_s"]) == 10


def test_an_interrupt_is_not_survived() -> None:
    def interrupted(_number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure({"a": interrupted}, FakeClock(), 1)


def test_the_warm_up_lasts_as_long_as_it_was_told_and_until_the_devices_clock_has_settled() -> None:
    clock = FakeClock()
    measure({"a": clock.variant(0.01)}, clock, Effort(1, warm_up_calls=3, warm_up_s=0.5))
    assert clock.now == pytest.approx(0.5 + 0.02, abs=0.011)
    asked = [0]

    def settled() -> bool:
        asked[0] += 1
        return asked[0] >= 7

    measure({"a": clock.variant(0.01)}, clock, 1, settled=settled)
    assert asked[0] == 7


def test_the_warm_up_waits_until_nothing_compiles_any_more() -> None:
    """Ten calls compile; three quiet ones must follow before anything is timed."""
    clock, compiled = FakeClock(), [0]

    def call(_number: int) -> None:
        clock.now += 0.01
        compiled[0] = min(10, compiled[0] + 1)

    witness = CounterSampler({"recompiles": lambda: float(compiled[0])})
    found = measure({"a": call}, clock, 2, of_samples=witness)
    assert sum(found.samples["a"]["recompiles"]) == 0
    assert clock.now == pytest.approx((10 + 1 + 4) * 0.01)  # one quiet turn is what a single warm-up call asks for


def test_witnesses_stand_beside_every_sample_and_block() -> None:
    clock, switches, stolen = FakeClock(), [0.0], [0.0]

    def call(_number: int) -> None:
        clock.now += 0.01
        switches[0] += 2
        stolen[0] += 0.001

    found = measure(
        {"a": call, "b": call},
        clock,
        3,
        of_samples=CounterSampler({"involuntary": lambda: switches[0]}),
        of_blocks=CounterSampler({"steal_s": lambda: stolen[0]}, {"load": lambda: 1.5}),
    )
    assert found.samples["a"]["involuntary"] == [2.0] * 6
    assert found.blocks["block"] == [0, 1, 2]
    assert found.blocks["steal_s"] == pytest.approx([0.004] * 3)
    assert found.blocks["wall_s"] == pytest.approx([0.04] * 3)
    assert found.blocks["load"] == [1.5] * 3


@pytest.mark.parametrize(("waits_s", "calls"), [(0.0, 1), (3e-3, 2), (3.9e-3, 4), (9e-3, 4)])
def test_waiting_for_a_processor_is_no_part_of_a_call(waits_s: float, calls: int) -> None:
    """Calls of 4 ms, half a millisecond of which is CPU time: as many are repeated as fill 2 ms of their own."""
    clock, waited = FakeClock(), [0.0]
    clock.on_device, clock.cpu_s = False, lambda: clock.now / 8

    def call(_number: int) -> None:
        clock.now += 4e-3
        waited[0] += waits_s

    found = measure({"a": call}, clock, 1, of_samples=CounterSampler({"wait_s": lambda: waited[0]}))
    assert found.samples["a"]["calls"] == [calls] * 2


def test_a_call_may_time_its_own_parts() -> None:
    clock = FakeClock()

    def call(_number: int) -> object:
        watch = Stopwatch(clock)
        for name, seconds in (("one", 0.001), ("two", 0.003)):
            clock.now += seconds
            watch.lap(name)
        return watch.laps

    samples = measure({"a": call}, clock, 1).samples["a"]
    assert samples["one/wall_s"] == pytest.approx([0.001] * 2)
    assert samples["two/wall_s"] == pytest.approx([0.003] * 2)
    assert samples["two/cpu_s"] == pytest.approx([0.0015] * 2)
    watch = Stopwatch(clock)
    for i in range(1, 21):
        clock.now += i
        watch.lap(str(i))
    found = watch.quantiles({"p50": 0.5, "p95": 0.95})  # of the nearest rank
    assert (found["p50/wall_s"], found["p95/wall_s"]) == pytest.approx((10, 19))


class Cooling:
    """A variant that starts 20 % slow and is as fast as its anchor after so many calls."""

    def __init__(self, clock: FakeClock, calls: int) -> None:
        self.clock, self.left, self.calls = clock, calls, calls

    def __call__(self, _number: int) -> None:
        self.clock.now += 0.01 * (1 + 0.2 * self.left / self.calls)
        self.left = max(0, self.left - 1)


def test_a_variant_that_was_not_warm_is_measured_again() -> None:
    """Twenty calls cool down during the first measurement; the second finds a steady variant and its samples alone count."""
    clock = FakeClock()
    found = measure({"anchor": clock.variant(0.01), "variant": Cooling(clock, 20)}, clock, 10)
    assert "variant" in found.warmed_up_again
    assert found.unsteady == {}
    assert found.samples["variant"]["wall_s"] == pytest.approx([0.01] * 20)
    clock = FakeClock()
    found = measure({"anchor": clock.variant(0.01), "variant": Cooling(clock, 200)}, clock, 10)
    assert "drifted by -" in found.unsteady["variant"]  # it never settles
    assert "p = " in found.unsteady["variant"]


def test_a_machine_that_drifts_is_no_unsteady_variant() -> None:
    """All variants slow down alike, by a factor of two: the ratio does not move, so nothing is measured again."""
    clock, slow = FakeClock(), [1.0]

    def drifting(_number: int) -> None:
        slow[0] *= 1.015
        clock.now += 0.01 * slow[0]

    found = measure({"anchor": drifting, "variant": drifting}, clock, 12)
    assert found.unsteady == {}
    assert found.warmed_up_again == {}
