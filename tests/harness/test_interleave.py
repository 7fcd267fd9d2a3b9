"""The block design with a fake clock: who is visited when, and what an exception costs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.interleave import ARMS_PER_BLOCK, Call, Clock, deal, measure
from modbench.harness.passes import SURVIVABLE


class FakeClock(Clock):
    """Time passes only when an arm says so."""

    def __init__(self) -> None:
        super().__init__(synchronize=self._note)
        self.now = 0.0
        self.synchronized = 0
        self.cpu_s = lambda: self.now / 2

    def _note(self) -> None:
        self.synchronized += 1

    def wall_s(self) -> float:
        return self.now

    def arm(self, seconds: float) -> Callable[[int], None]:
        def call(_number: int) -> None:
            self.now += seconds

        return call


def never(arm: str, error: BaseException) -> None:
    raise AssertionError(f"{arm} raised") from error


@given(n=st.integers(1, 12), seed=st.integers(0, 999))
def test_every_arm_once_a_round_beside_the_anchor_there_and_back(n: int, seed: int) -> None:
    arms = [f"arm{i}" for i in range(n)]
    blocks = deal(arms, "arm0", random.Random(seed))
    for block in blocks:
        half = block[: len(block) // 2]
        assert block == half + half[::-1]
        assert "arm0" in half
        assert len(half) <= 1 + ARMS_PER_BLOCK
    visits = Counter(arm for block in blocks for arm in block)
    assert all(visits[arm] == 2 for arm in arms[1:])
    assert visits["arm0"] == 2 * len(blocks)


def test_orders_differ_between_seeds_and_repeat_within_one() -> None:
    arms = [f"arm{i}" for i in range(9)]
    assert deal(arms, "arm0", random.Random(1)) == deal(arms, "arm0", random.Random(1))
    assert deal(arms, "arm0", random.Random(1)) != deal(arms, "arm0", random.Random(2))


def test_samples_are_what_the_clock_said() -> None:
    clock = FakeClock()
    calls: dict[str, Call] = {"anchor": clock.arm(0.010), "arm": clock.arm(0.005)}
    samples = measure(calls, "anchor", rounds=3, rng=random.Random(0), clock=clock, warm_up_calls=1, on_error=never)
    assert samples["anchor"]["wall_s"] == pytest.approx([0.010] * 6)
    assert samples["arm"]["wall_s"] == pytest.approx([0.005] * 6)
    assert samples["arm"]["cpu_s"] == pytest.approx([0.0025] * 6)
    assert sorted(set(samples["arm"]["block"])) == [0, 1, 2]
    assert clock.synchronized == 2 * (2 + 12)  # before and after every sample, warm-up included


def test_short_calls_are_repeated_and_reported_per_call() -> None:
    clock = FakeClock()
    samples = measure(
        {"a": clock.arm(0.0004)}, "a", rounds=1, rng=random.Random(0), clock=clock, warm_up_calls=1, on_error=never
    )
    assert samples["a"]["calls"] == [5, 5]
    assert samples["a"]["wall_s"] == pytest.approx([0.0004] * 2)


def test_all_arms_of_a_block_get_the_same_input() -> None:
    clock = FakeClock()
    seen: dict[str, list[int]] = {"anchor": [], "arm": []}

    def noting(name: str) -> Callable[[int], None]:
        def call(number: int) -> None:
            seen[name].append(number)
            clock.now += 0.01

        return call

    measure(
        {name: noting(name) for name in seen},
        "anchor",
        rounds=4,
        rng=random.Random(0),
        clock=clock,
        warm_up_calls=1,
        on_error=never,
    )
    assert seen["anchor"] == seen["arm"] == [0, 0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("raised", [ValueError("boom"), SystemExit(3)])
@pytest.mark.parametrize("when", [0, 5])
def test_an_arm_that_raises_loses_its_samples_and_nobody_else_does(raised: BaseException, when: int) -> None:
    clock = FakeClock()
    count = 0

    def failing(_number: int) -> None:
        nonlocal count
        clock.now += 0.01
        count += 1
        if count > when:
            raise raised

    calls: dict[str, Call] = {"anchor": clock.arm(0.01), "bad": failing, "good": clock.arm(0.02)}
    errors: dict[str, BaseException] = {}

    def note(arm: str, error: BaseException) -> None:
        assert arm not in calls  # let go before anybody looks
        errors[arm] = error

    samples = measure(
        calls,
        "anchor",
        rounds=5,
        rng=random.Random(0),
        clock=clock,
        warm_up_calls=1,
        on_error=note,
        survivable=SURVIVABLE,
    )
    assert errors == {"bad": raised}
    assert set(samples) == {"anchor", "good"}
    assert len(samples["good"]["wall_s"]) == 10


def test_an_interrupt_is_not_survived() -> None:
    clock = FakeClock()

    def interrupted(_number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure({"a": interrupted}, "a", rounds=1, rng=random.Random(0), clock=clock, warm_up_calls=1, on_error=never)
