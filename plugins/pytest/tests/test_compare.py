"""`modbench_compare` in a user's suite: what fails a test and what does not, how it is asked, and what is shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modbench.plugins.pytest import comparer

ROOT = Path(__file__).parents[3]
SLOWER = "modbench_compare(baseline, takes(0.011, seed=1))"

# --- what fails, and what does not


def test_a_slowdown_of_a_tenth_fails_and_says_what_to_do_in_two_lines(suite: Any) -> None:
    suite.compare(SLOWER)
    text = suite.shows("*modbench: above 1*", "test_speed.py::test_speed *0.9*slower", failed=1)
    found: Any = re.search(r"^test_speed\.py::test_speed: the candidate is slower .*\n.*\n", text, flags=re.MULTILINE)
    assert re.search(r"0\.9\d\d× \[0\.9\d\d–0\.9\d\d\] as fast, measured twice .*\bmargin 2 %", found[0])
    assert "--modbench-rounds" in found[0]
    assert "Traceback" not in text


GONE = """
    slow, fast, calls = takes(0.011, seed=1), takes(0.01, seed=2), []
    def candidate():
        calls.append(1)
        (slow if len(calls) <= 60 else fast)()
    modbench_compare(baseline, candidate)
    assert len(calls) > 80
"""
DRIFTS = """
    taken = [0.012]
    def drifts():
        modbench_clock.now += taken[0]
        taken[0] *= 1.01
    assert 'not steady' in modbench_compare(baseline, drifts).labels
"""
# What happens to the samples of a process.
CHANGED = """
    import modbench.plugins.python.callables as callables
    time = callables.time_callables
    def changed(calls, **asked):
        process = time(calls, **asked)
        {}
        return process
    monkeypatch.setattr(callables, 'time_callables', changed)
"""
UNEVEN = "process.samples['baseline (again)'].update(wall_s=[0.012] * 40, cpu_s=[0.012] * 40)"
BUSY = "[columns.update(wait_s=columns['wall_s']) for columns in process.samples.values()]"
SEVERAL = "for name in (None, None, 'third'): modbench_compare(baseline, takes(0.01, seed=1), name=name)"
HELPS = "2 threads on * core*, busy: use threads=1, or start pytest with OMP_NUM_THREADS=1"


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("modbench_compare(baseline, takes(0.010, seed=1))", ["test_speed.py::test_speed *equivalent"]),
        ("modbench_compare(baseline, takes(0.009, seed=1))", ["test_speed.py::test_speed *faster"]),
        (
            "modbench_compare(takes(0.01, 0.1), takes(0.0102, 0.1, seed=2))",
            ["test_speed.py::test_speed *inconclusive", "inconclusive: test_speed.py::test_speed: *more rounds*"],
        ),
        (
            "modbench_compare(takes(0.01, 0.01), takes(0.01028, 0.01, seed=2))",
            ["test_speed.py::test_speed *slower (size open)", "inconclusive: *more than the margin, 2 %*"],
        ),
        (GONE, ["inconclusive: *at first (0.9*×), not when measured again"]),
        (DRIFTS, ["inconclusive: *not steady*"]),
        (CHANGED.format(UNEVEN) + "    modbench_compare(baseline, takes(0.013))", ["inconclusive: *differs from itself*"]),
        (
            CHANGED.format(BUSY) + "    modbench_compare(baseline, takes(0.0102, seed=1), threads=2)",
            [f"inconclusive: *100 % of the blocks are noisy*; {HELPS}"],
        ),
        (SEVERAL, [f"test_speed.py::test_speed{each}  *" for each in ("", " (2)", " (third)")]),
    ],
    ids=["equal", "faster", "noisy", "size open", "gone", "drifts", "uneven", "busy", "several"],
)  # fmt: skip
def test_anything_else_passes_and_is_named_with_the_reason(body: str, lines: list[str], suite: Any) -> None:
    suite.compare(body)
    suite.shows(*lines)


def test_the_result_holds_samples_and_the_interval(suite: Any) -> None:
    suite.compare(
        """
        found = modbench_compare(baseline, takes(0.01, seed=1))
        assert found.interval[0] < found.ratio < found.interval[1]
        assert len(found.process.samples['candidate']['wall_s']) == 40
        assert found.labels == ('one process',)
        """
    )
    suite.shows()


# --- how it is asked


ASKED = """
import pytest, torch
@pytest.mark.modbench(margin=0.2)
class TestMarked:
    @pytest.mark.modbench(rounds=8, threads=4)
    def test_marker(self, modbench_compare, takes):
        threads, fast = set(), takes(0.011, seed=1)
        def call():
            threads.add(torch.get_num_threads())
            fast()
        found = modbench_compare(call, call)
        assert (found.margin, threads, len(found.process.samples["candidate"]["wall_s"])) == (0.2, {4}, ROUNDS)
    def test_call(self, modbench_compare, takes):
        found = modbench_compare(takes(0.01), takes(0.011, seed=1), margin=0.25, rounds=8)
        assert (found.margin, len(found.process.samples["candidate"]["wall_s"])) == (0.25, ROUNDS)
def test_ini(modbench_compare, takes):
    assert modbench_compare(takes(0.01), takes(0.01, seed=1)).margin == 0.3
"""


@pytest.mark.parametrize(("rounds", "samples"), [(None, "16"), (9, "18")])
def test_settings_of_each_place_reach_the_comparison(rounds: int | None, samples: str, suite: Any) -> None:
    before = torch.get_num_threads()
    suite.pytester.makeini("[pytest]\nmodbench_margin = 0.3\nmodbench_rounds = 7\naddopts = --strict-markers\n")
    suite.write(ASKED.replace("ROUNDS", samples))
    suite.shows(rounds=rounds, passed=3)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("call", "mark", "said"),
    [
        ("modbench_compare(1, baseline)", "", "the baseline is int*"),
        ("modbench_compare(baseline, baseline, margin=5)", "", "margin = 5 is *0.05 is 5 %."),
        ("modbench_compare(baseline, baseline)", "@pytest.mark.modbench(margn=0.1)", "*'margn'.* 'margin'?*"),
        ("for _ in 'ab': modbench_compare(baseline, baseline, name='one')", "", "*named 'one'*"),
        ("mb.compare({'a': abs, 'b': abs}, (1,), margn=0.1)", "", "*'margn'.* 'margin'?*"),
    ],
)
def test_of_a_mistake_the_own_line_is_shown_and_one_sentence(call: str, mark: str, said: str, suite: Any) -> None:
    suite.compare(call, mark)
    shown = suite.shows(f">       {call}", f"E       *UsageError: {said}", failed=1)
    assert "modbench/harness" not in shown
    assert "modbench/python" not in shown
    assert len(shown.partition("FAILURES")[2].partition("short test summary")[0].splitlines()) < 20


@pytest.mark.parametrize(
    ("ini", "rounds", "said"), [("", 3, "rounds = '3'"), ("modbench_threads = all", None, "threads = 'all'")]
)
def test_an_impossible_option_is_one_line_before_any_test_runs(
    ini: str, rounds: int | None, said: str, suite: Any
) -> None:
    suite.pytester.makeini(f"[pytest]\n{ini}\n")
    suite.compare(SLOWER)
    result = suite.run(rounds=rounds)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.stderr.lines if line.strip())
    assert f"ERROR: modbench: {said}" in line


# --- where nothing is judged


def test_disabled_everything_is_called_once_and_nothing_judged(suite: Any) -> None:
    suite.compare(
        """
        called = []
        found = modbench_compare(lambda: called.append(1), lambda: called.append(2))
        assert (called, found.ratio, found.verdict) == ([1, 2], None, 'not judged')
        """
    )
    lines = ["test_speed.py::test_speed *not judged", "inconclusive: *--modbench-disable"]
    suite.shows(*lines, arguments=["--modbench-disable"])


@pytest.mark.parametrize(("workers", "said"), [("1", "None"), ("2", "another worker")])
def test_beside_other_workers_nothing_is_judged(workers: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
    assert said in str(comparer.reason_not_to_time())


def test_a_tool_that_watches_every_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As coverage does from Python 3.12 on, which has `sys.monitoring`."""
    fake = SimpleNamespace(get_tool={1: "coverage"}.get, get_events=lambda _tool: 1)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(sys, "monitoring", fake, raising=False)
    assert "coverage watches what runs" in str(comparer.reason_not_to_time())


def test_tracers_pause_while_it_is_timed_and_see_each_callable_once() -> None:
    seen = []

    def call() -> None:
        seen.append(sys.gettrace() is not None)

    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        with comparer._untraced((call,)):
            call()
        assert sys.gettrace() is not None
    finally:
        sys.settrace(before)
    assert seen == [True, False]


# --- how it is loaded
