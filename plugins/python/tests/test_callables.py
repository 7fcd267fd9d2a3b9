"""Callables timed side by side, with a fake clock and planted effects: what is told apart, and what is not claimed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml
from moving_clock import FakeClock
from present import present

from modbench.harness.stats.reason import Reason
from modbench.plugins.python.callable_contrasts import DIFFERS, ONE_PROCESS, UNSTEADY, beside_baseline, own_time
from modbench.plugins.python.callables import LEAST_ROUNDS, MOST_ROUNDS, TimingProcess, time_callables


def process(times: Mapping[str, float], noise: float = 0.01, seed: int = 0, **more: Any) -> TimingProcess:
    """One process in which each callable takes its time, with noise."""
    clock = FakeClock()
    calls = {name: clock.takes(at, noise, 100 * seed + i) for i, (name, at) in enumerate(times.items())}
    return time_callables(calls, clock=clock, seed=seed, **{"rounds": 20, **more})


@pytest.mark.parametrize(
    ("time", "verdict"),
    [(0.010, "better"), (0.0143, "worse"), (0.01251, "equivalent"), (0.01225, "better_open")],
)
def test_a_planted_difference_is_found_and_labelled_as_one_process(time: float, verdict: str) -> None:
    found = beside_baseline([process({"old": 0.0125, "new": time}, noise=0.002, rounds=30)])["new"]
    assert found.verdict == verdict
    ratio, low, high = found.contrast.ratio
    assert ratio == pytest.approx(0.0125 / time, rel=0.005)
    assert present(low) <= ratio <= present(high)
    assert found.labels == (ONE_PROCESS,)
    assert found.contrast.effect.reason == Reason("within_process")


def test_noise_above_the_difference_is_inconclusive_and_says_what_may_decide() -> None:
    found = beside_baseline([process({"old": 0.0100, "new": 0.0102}, noise=0.1)])["new"]
    assert found.verdict == "inconclusive"
    assert found.reason == Reason("more_rounds")


def test_too_few_rounds_claim_nothing() -> None:
    found = beside_baseline([process({"old": 0.0100, "new": 0.0200}, rounds=4)])["new"]
    assert (found.verdict, found.contrast.effect.low) == ("inconclusive", None)
    assert found.reason == Reason("few_rounds", n=4, needed=6)


@pytest.mark.parametrize(("later_s", "rounds", "calls"), [(1e-4, 100, 20), (2e-2, 19, 1)])
def test_rounds_end_where_calls_take_longer_than_in_the_warm_up(later_s: float, rounds: int, calls: int) -> None:
    """A busy machine: 100 rounds were planned from calls of 0.1 ms, 20 of them for a sample."""
    clock = FakeClock()

    def call() -> None:
        clock.now += 1e-4 if clock.now < 0.25 else later_s

    found = time_callables({"old": call, "new": call}, clock=clock)
    assert len(set(found.samples["new"]["round"])) == pytest.approx(rounds, abs=rounds % 2)  # repeats round
    assert found.samples["new"]["calls"][-1] == pytest.approx(calls, abs=calls // 20)
    asked = time_callables({"old": call, "new": call}, clock=clock, rounds=25)
    assert len(set(asked.samples["new"]["round"])) == 25  # what was asked for is made


@pytest.mark.parametrize(("runs", "rounds"), [(1.0, 18), (0.25, 72)])
def test_waiting_for_a_processor_does_not_count_up_to_a_limit(runs: float, rounds: int) -> None:
    """As above, where the thread runs for a share of the time of each call; a round takes four samples of 21 calls."""
    clock = FakeClock()
    clock.cpu_s = lambda: runs * clock.now

    def call() -> None:
        clock.now += 1e-4 if clock.now < 0.25 else 2e-3

    found = time_callables({"old": call, "new": call}, clock=clock)
    assert len(set(found.samples["new"]["round"])) == rounds


@pytest.mark.parametrize(("later_s", "plays"), [(1e-4, 2), (2e-3, 1)])
def test_what_ran_out_of_time_is_not_measured_again_and_says_that_it_drifts(later_s: float, plays: int) -> None:
    clock, called = FakeClock(), list[int]()

    def drifts() -> None:
        warm = clock.now < 0.25
        clock.now += 1e-4 if warm else later_s * (1 + 1e-5 * len(called))
        called.extend([] if warm else [1])

    found = time_callables({"old": clock.takes(1e-4), "new": drifts}, clock=clock)
    samples = found.samples["new"]
    assert "new" in found.unsteady
    assert len(called) // int(sum(samples["calls"])) == plays


def test_processes_are_the_unit_where_there_are_several() -> None:
    """Each process is sure of its own time, and the processes disagree: rounds alone would claim a difference."""
    apart = [1.10, 0.95, 1.08, 0.97]
    processes = [process({"old": 0.01, "new": 0.01 / each}, 0.002, i) for i, each in enumerate(apart)]
    assert beside_baseline(processes[:1])["new"].verdict == "better"
    found = beside_baseline(processes)["new"]
    assert found.verdict == "inconclusive"
    assert ONE_PROCESS not in found.labels
    assert present(found.reason).code == "decides"
    same = beside_baseline([process({"old": 0.01, "new": 0.008}, 0.002, i) for i in range(4)])["new"]
    assert same.verdict == "better"
    assert same.contrast.effect.n == 4


def test_nothing_is_decided_where_the_baseline_differs_from_itself() -> None:
    clock = FakeClock()
    made = time_callables(
        {"old": clock.takes(0.01), "new": clock.takes(0.008)}, clock=clock, rounds=20, aa_control=True
    )
    own = made.samples["old (again)"]
    slow = {**own, **{column: [1.1 * each for each in own[column]] for column in ("wall_s", "cpu_s")}}
    found = beside_baseline([TimingProcess("old", {**made.samples, "old (again)": slow}, aa_control="old (again)")])
    assert found["old (again)"].verdict == "worse"
    assert found["new"].verdict == "inconclusive"
    assert DIFFERS in found["new"].labels
    assert found["new"].reason == Reason("baseline_differs", ratio=found["old (again)"].contrast.ratio)


def test_the_others_are_one_family_without_the_control() -> None:
    found = beside_baseline([process({"old": 0.01, "a": 0.01, "b": 0.012}, aa_control=True)])
    assert {name: each.contrast.family for name, each in found.items()} == {"a": 2, "b": 2, "old (again)": 1}


def test_what_drifts_is_labelled() -> None:
    clock = FakeClock()
    calls = {"old": clock.takes(0.01), "new": clock.takes(0.01, drift=0.1)}
    found = beside_baseline([time_callables(calls, clock=clock, rounds=20)])["new"]
    assert UNSTEADY in found.labels


def test_a_time_gives_the_number_of_rounds() -> None:
    def rounds(seconds: float | None) -> int:
        return len(set(process({"a": 0.01, "b": 0.03}, rounds=None, seconds=seconds).samples["a"]["round"]))

    assert rounds(0.01) == LEAST_ROUNDS
    assert rounds(4.0) in {49, 50, 51}  # each takes 2 * (0.01 + 0.03)
    assert rounds(1000.0) == MOST_ROUNDS
    assert rounds(None) in {24, 25, 26}  # two callables: two seconds


def test_on_a_gpu_each_call_is_waited_for_and_the_card_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCuda().install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml())
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    made = time_callables({"old": lambda: device.launch(0.004), "new": lambda: device.launch(0.002)}, rounds=8)
    assert made.samples["old"]["wall_s"] == pytest.approx([0.00401] * 16)
    assert beside_baseline([made])["new"].contrast.ratio[0] == pytest.approx(0.00401 / 0.00201)
    assert not made.one_thread
    assert "sm_mhz" in made.blocks


@pytest.mark.parametrize("timing_processes", [1, 4])
def test_callables_have_times_whose_quotient_is_their_ratio(timing_processes: int) -> None:
    """The baseline's calls lie in every block, the others in one of each round: the machine differs from block to block."""
    measured = [lurching_process(seed) for seed in range(timing_processes)]
    found = beside_baseline(measured)
    base = own_time(measured, "a").median_s
    for name in ("b", "c"):
        assert base / own_time(measured, name).median_s == pytest.approx(found[name].contrast.ratio[0], rel=1e-9)


def lurching_process(seed: int) -> TimingProcess:
    """A process with 12 rounds, whose blocks differ by 30 %."""
    made = process({"a": 0.01, "b": 0.012, "c": 0.008}, seed=seed, rounds=12)
    speed = np.random.default_rng(seed).lognormal(0, 0.3, 1000)
    for samples in made.samples.values():
        blocks = zip(samples["wall_s"], samples["block"], strict=True)
        samples["wall_s"][:] = [wall * float(speed[int(block)]) for wall, block in blocks]
    return made
