"""Contrasts of callables with planted times: what is told apart and what is not claimed, which clock decides, and what helps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_processes import process, scatter
from present import present

from modbench.harness.stats import noise, paired
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import NOT_RECORDED
from modbench.plugins.python.callable_contrasts import (
    CORES,
    CPU_MARGIN,
    DIFFERS,
    ONE_PROCESS,
    UNSTEADY,
    beside_baseline,
    own_time,
    remedy,
)
from modbench.plugins.python.callables import time_callables
from modbench.plugins.python.threads import at_threads

SIZE_OPEN = "significantly different, but not shown to be by more than the margin, {margin}"


@pytest.mark.parametrize(
    ("new_s", "asked", "verdict", "why"),
    [
        (0.010, {}, "better", None),
        (0.0143, {}, "worse", None),
        (0.01251, {}, "equivalent", None),
        (0.01225, {}, "better_open", Reason(SIZE_OPEN, margin=0.02)),
        (0.0127, {"noise": 0.1}, "inconclusive", Reason("more_rounds")),
        (0.025, {"rounds": 4}, "inconclusive", Reason("few_rounds", n=4, needed=6)),
    ],
)
def test_a_planted_difference_is_judged_and_labelled_as_of_one_process(
    new_s: float, asked: dict[str, Any], verdict: str, why: Reason | None
) -> None:
    found = beside_baseline([process({"old": 0.0125, "new": new_s}, **{"noise": 0.002, "rounds": 30, **asked})])["new"]
    assert (found.verdict, found.reason, found.labels) == (verdict, why, (ONE_PROCESS,))
    if not asked:
        ratio, low, high = found.contrast.ratio
        assert present(low) <= ratio <= present(high)
        assert ratio == pytest.approx(0.0125 / new_s, rel=0.005)
        assert found.contrast.effect.reason == Reason("within_process")


def test_processes_are_the_unit_where_there_are_several() -> None:
    """Each process is sure of its own time, and the processes disagree: rounds alone would claim a difference."""
    apart = [1.10, 0.95, 1.08, 0.97]
    processes = [process({"old": 0.01, "new": 0.01 / each}, 0.002, i) for i, each in enumerate(apart)]
    assert beside_baseline(processes[:1])["new"].verdict == "better"
    found = beside_baseline(processes)["new"]
    assert (found.verdict, present(found.reason).code, found.labels) == ("inconclusive", "decides", ())
    same = beside_baseline([process({"old": 0.01, "new": 0.008}, 0.002, i) for i in range(4)])["new"]
    assert (same.verdict, same.contrast.effect.n) == ("better", 4)


def test_nothing_is_decided_where_the_baseline_differs_from_itself() -> None:
    made = process({"old": 0.01, "new": 0.008}, aa_control=True)
    for column in ("wall_s", "cpu_s"):
        made.samples["old (again)"][column][:] = [1.1 * each for each in made.samples["old (again)"][column]]
    found = beside_baseline([made])
    assert found["old (again)"].verdict == "worse"
    assert found["new"].verdict == "inconclusive"
    assert DIFFERS in found["new"].labels
    assert found["new"].reason == Reason("baseline_differs", ratio=found["old (again)"].contrast.ratio)


def test_the_others_are_one_family_without_the_control() -> None:
    found = beside_baseline([process({"old": 0.01, "a": 0.01, "b": 0.012}, aa_control=True)])
    assert {name: each.contrast.family for name, each in found.items()} == {"a": 2, "b": 2, "old (again)": 1}


def test_what_drifts_is_labelled() -> None:
    made = replace(process({"old": 0.01, "new": 0.01}), unsteady={"old": "it drifts"})
    assert UNSTEADY in beside_baseline([made])["new"].labels


@pytest.mark.parametrize("processes", [1, 4])
def test_callables_have_times_whose_quotient_is_their_ratio(processes: int) -> None:
    """The baseline's calls lie in every block, the others' in one of each round; blocks differ by 30 %."""
    measured = [process({"a": 0.01, "b": 0.012, "c": 0.008}, seed=seed, rounds=12) for seed in range(processes)]
    for seed, made in enumerate(measured):
        speed = np.random.default_rng(seed).lognormal(0, 0.3, 1000)
        for samples in made.samples.values():
            samples["wall_s"][:] = np.multiply(samples["wall_s"], speed[np.array(samples["block"], int)]).tolist()
    found, base_s = beside_baseline(measured), own_time(measured, "a").median_s
    for name in ("b", "c"):
        assert base_s / own_time(measured, name).median_s == pytest.approx(found[name].contrast.ratio[0], rel=1e-9)


@pytest.mark.parametrize(
    ("slower", "one", "three"),
    [
        (1.0, "inconclusive", "equivalent"),
        (1.03, "inconclusive", "worse"),
        (1.1, "worse", "worse"),
        (0.9, "better", "better"),
    ],
)
def test_cpu_time_decides_on_a_busy_machine_of_one_process_beyond_five_percent(
    slower: float, one: str, three: str
) -> None:
    made = process({"old": 0.01, "new": 0.01})
    scatter(made.samples["old"], 1.0, shift=0)
    scatter(made.samples["new"], slower, shift=5)
    found = beside_baseline([made])["new"]
    assert (found.verdict, "by CPU time" in found.labels) == (one, True)
    if one == "worse":
        assert found.contrast.ratio[0] == pytest.approx(1 / slower)
        assert present(found.reason).given["other"] == Reason("one process: judged beyond {least}", least=CPU_MARGIN)
    assert beside_baseline([made] * 3)["new"].verdict == three
    escaped = beside_baseline([made], escaped={"new": "does not compute every call"})["new"]
    assert escaped.verdict == "inconclusive", "CPU time does not see all of its work"


def _computes() -> None:
    sum(i * i for i in range(100_000))


def _sleeps() -> None:
    _computes()
    time.sleep(0.005)


def _uses_a_thread() -> None:
    thread = threading.Thread(target=_computes)
    thread.start()
    thread.join()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="what Linux exposes")
@pytest.mark.parametrize("variant", [_sleeps, _uses_a_thread])
def test_cpu_time_decides_nothing_of_what_waits_or_works_where_it_does_not_see_it(variant: Callable[[], None]) -> None:
    """On the real clock, whatever else runs, and as if every sample had waited for a processor as well."""
    with at_threads(1):
        made = time_callables({"base": _computes, "variant": variant}, rounds=6)
    samples = made.samples["variant"]
    assert paired.unfit([[samples]]) not in {None, NOT_RECORDED}
    for each in made.samples.values():
        each["wait_s"][:] = [wall * calls for wall, calls in zip(each["wall_s"], each["calls"], strict=True)]
    assert noise.share_of_blocks(samples) == 1
    for processes in ([made], [made] * 3):
        assert "by CPU time" not in beside_baseline(processes)["variant"].labels


def test_the_remedy_is_named_where_threads_wait_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    causes = ("torch compiled again", CORES)
    with at_threads(2):
        assert remedy(causes, "cpu", "start") == "2 threads on 2 cores, busy: start with OMP_NUM_THREADS=1"
        assert remedy(causes, "cuda:0") is None
        assert remedy(causes[:1], "cpu") is None
    with at_threads(1):
        assert remedy(causes, "cpu") is None
