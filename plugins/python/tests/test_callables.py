"""Callables timed side by side on a clock that only they move: how many rounds are made, when they end, and in which order."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import pytest
import torch
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml
from moving_clock import FakeClock

from modbench.plugins.python.callable_contrasts import beside_baseline
from modbench.plugins.python.callables import LEAST_ROUNDS, MOST_ROUNDS, TimingProcess, build_order, time_callables


def rounds(made: TimingProcess) -> int:
    return len(set(made.samples["new"]["round"]))


@pytest.mark.parametrize(
    ("seconds", "made"), [(0.01, LEAST_ROUNDS), (4.0, 50), (1000.0, MOST_ROUNDS), (None, 25)], ids=str
)
def test_a_time_gives_the_number_of_rounds(seconds: float | None, made: int) -> None:
    """A round takes 2 * (0.01 + 0.03) s; without a time each of the two callables has one second."""
    clock = FakeClock()
    calls = {"old": clock.takes(0.01, 0.01), "new": clock.takes(0.03, 0.01, seed=1)}
    assert rounds(time_callables(calls, seconds=seconds, clock=clock)) == pytest.approx(made, abs=made % 20 and 1)


def slows_down(clock: FakeClock, later_s: float) -> Callable[[], None]:
    """A call of 0.1 ms in the warm-up, and of another time after it."""

    def call() -> None:
        clock.now += 1e-4 if clock.now < 0.25 else later_s

    return call


@pytest.mark.parametrize(
    ("later_s", "runs", "made", "calls"),
    [
        pytest.param(1e-4, 1.0, 100, 20, id="as planned"),
        pytest.param(2e-2, 1.0, 19, 1, id="too slow to repeat"),
        pytest.param(2e-3, 1.0, 18, 20, id="slow"),
        pytest.param(2e-3, 0.25, 72, 20, id="waits for a processor"),
        pytest.param(2e-3, 0.1, 90, 20, id="waits too long"),
    ],
)
def test_rounds_end_where_calls_take_longer_than_in_the_warm_up(
    later_s: float, runs: float, made: int, calls: int
) -> None:
    """100 rounds are planned, of 20 calls a sample. Waiting for a processor does not count, up to a limit."""
    clock = FakeClock()
    clock.cpu_s = lambda: runs * clock.now
    both = dict.fromkeys(("old", "new"), slows_down(clock, later_s))
    found = time_callables(both, clock=clock)
    assert rounds(found) == pytest.approx(made, abs=made % 2)
    assert found.samples["new"]["calls"][-1] == pytest.approx(calls, abs=calls // 20)
    assert rounds(time_callables(both, clock=clock, rounds=25)) == 25, "what was asked for is made"


@pytest.mark.parametrize(("later_s", "plays"), [(1e-4, 2), (2e-3, 1)])
def test_what_ran_out_of_time_is_not_measured_again_and_says_that_it_drifts(later_s: float, plays: int) -> None:
    clock, called = FakeClock(), list[int]()

    def drifts() -> None:
        warm = clock.now < 0.25
        clock.now += 1e-4 if warm else later_s * (1 + 1e-5 * len(called))
        called.extend([] if warm else [1])

    found = time_callables({"old": clock.takes(1e-4), "new": drifts}, clock=clock)
    assert "new" in found.unsteady
    assert len(called) // int(sum(found.samples["new"]["calls"])) == plays


def test_on_a_gpu_each_call_is_waited_for_and_the_card_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCuda().install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml())
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    made = time_callables({"old": lambda: device.launch(0.004), "new": lambda: device.launch(0.002)}, rounds=8)
    assert made.samples["old"]["wall_s"] == pytest.approx([0.00401] * 16)
    assert beside_baseline([made])["new"].contrast.ratio[0] == pytest.approx(0.00401 / 0.00201)
    assert not made.one_thread
    assert "sm_mhz" in made.blocks


def test_the_order_is_drawn_from_the_seed_alone_and_any_comes() -> None:
    assert {build_order(("b", "a", "c"), seed) for seed in range(40)} == set(itertools.permutations("abc"))
    assert build_order(("c", "b", "a"), 7) == build_order(("a", "b", "c"), 7)
