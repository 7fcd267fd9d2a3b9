"""Contrasts of callables: which clock decides, where CPU time stands for the work; and what helps where noise left it open."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_against_baseline import MARGIN, columns

from modbench.harness.stats import noise, paired
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import NOT_RECORDED, Contrast, Estimates, Rule, Seen
from modbench.plugins.python.callable_contrasts import CORES, CPU_MARGIN, Beside, beside_baseline, remedy
from modbench.plugins.python.callables import TimingProcess, time_callables
from modbench.plugins.python.threads import at_threads, crowded


@pytest.mark.parametrize(
    ("slower", "word"), [(1.0, "inconclusive"), (1.03, "inconclusive"), (1.1, "worse"), (0.9, "better")]
)
def test_one_process_is_judged_by_cpu_time_beyond_five_percent(slower: float, word: str) -> None:
    """Wall time scatters too much to tell anything; CPU time does not."""
    base, variant = columns(10), columns(10)
    for samples, factor, turn in ((base, 1.0, 0), (variant, slower, 5)):
        samples["cpu_s"] = [factor * each for each in samples["cpu_s"]]
        spoilt = [each * (1 + (i * 7919 % 13)) for i, each in enumerate(samples["cpu_s"])]
        samples["wait_s"] = [0.9 * wall for wall in spoilt]
        samples["wall_s"] = spoilt[turn:] + spoilt[:turn]
    process = TimingProcess("base", {"base": base, "variant": variant})
    found = beside_baseline([process], MARGIN)["variant"]
    assert found.verdict == word
    assert "by CPU time" in found.labels
    if word == "worse":
        assert found.contrast.ratio[0] == pytest.approx(1 / slower)
        assert found.reason is not None
        assert found.reason.given["other"] == Reason("one process: judged beyond {least}", least=CPU_MARGIN)
    escaped = beside_baseline([process], MARGIN, escaped={"variant": "does not compute every call"})["variant"]
    assert escaped.verdict == "inconclusive"
    # Of three processes the margin is the user's own.
    three = beside_baseline([process] * 3, MARGIN)["variant"]
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
@pytest.mark.parametrize("variant", [_sleeps, _uses_a_thread, _waits_for_a_file])
def test_variants_whose_work_or_waiting_cpu_time_does_not_see(variant: Callable[[], None]) -> None:
    """They are seen in this process, whatever else runs: CPU time decides nothing, whatever wall time says."""
    with at_threads(1):
        process = time_callables({"base": _computes, "variant": variant}, rounds=6)
    assert paired.unfit([[process.samples["variant"]]]) not in {None, NOT_RECORDED}
    # As if every sample had waited for a processor as well.
    samples = {
        name: {**each, "wait_s": [wall * calls for wall, calls in zip(each["wall_s"], each["calls"], strict=True)]}
        for name, each in process.samples.items()
    }
    busy = replace(process, samples=samples)
    assert noise.share_of_blocks(samples["variant"]) == 1
    for processes in ([busy], [busy] * 3):
        found = beside_baseline(processes, MARGIN)["variant"]
        assert "by CPU time" not in found.labels
    assert math.isfinite(found.contrast.effect.value)


def test_the_remedy_is_named_where_threads_wait_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    causes = ("torch compiled again", CORES)
    with at_threads(2):
        assert crowded() == "2 threads on 2 cores, busy"
        assert remedy(causes, "cpu", "start it") == f"{crowded()}: start it with OMP_NUM_THREADS=1"
        assert remedy(causes, "cuda:0") is None
        assert remedy(causes[:1], "cpu") is None
    with at_threads(1):
        assert remedy(causes, "cpu") is None


def test_what_noise_alone_left_open_needs_no_remedy() -> None:
    asked = {
        ("better_open", 0.9): True,
        ("worse_open", 0.9): True,
        ("inconclusive", 0.9): True,
        ("inconclusive", 0.1): False,
        ("worse", 0.9): False,
    }
    for (verdict, share), doubtful in asked.items():
        found = Contrast("within", Rule(), Seen(noisy=share), Estimates(Effect(0.0)))
        assert Beside(found, verdict, None, ()).doubtful is doubtful
