"""`modbench_compare` in a user's suite: what fails a test and what does not, how it is asked, and what is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modbench.extend import UsageError
from modbench.plugins.pytest import comparer
from modbench.plugins.pytest.settings import resolve

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "numpy", "scipy", "pandas", "pydantic", "typer", "matplotlib", "modbench.harness")
Slower = Callable[[float], str]


def test_a_slowdown_of_a_tenth_fails_and_says_what_to_do_in_two_lines(suite: Any, slower: Slower) -> None:
    suite.write(slower(0.011))
    result = suite.run()
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    found: Any = re.search(r"^test_speed\.py::test_speed: the candidate is slower .*\n.*\n", text, flags=re.MULTILINE)
    assert re.search(r"0\.9\d\d× \[0\.9\d\d–0\.9\d\d\] .*\bmargin 2 %", found[0])
    assert "measured twice" in found[0]
    assert "--modbench-rounds" in found[0]
    assert "Traceback" not in text
    result.stdout.fnmatch_lines(["*modbench: above 1*", "test_speed.py::test_speed *0.9*slower"])


@pytest.mark.parametrize(("seconds", "word"), [(0.010, "equivalent"), (0.009, "faster")])
def test_no_slowdown_passes(seconds: float, word: str, suite: Any, slower: Slower) -> None:
    suite.write(slower(seconds))
    suite.shows(f"test_speed.py::test_speed *{word}")


@pytest.mark.parametrize(
    ("calls", "word", "why"),
    [
        ("takes(0.01, 0.1), takes(0.0102, 0.1, seed=2)", "inconclusive", "more rounds"),
        ("takes(0.01, 0.01), takes(0.01028, 0.01, seed=2)", "slower (size open)", "more than the margin, 2 %"),
    ],
)
def test_what_is_undecided_passes_and_is_named_with_the_reason(calls: str, word: str, why: str, suite: Any) -> None:
    suite.write(
        f"def test_speed(modbench_compare, takes):\n    found = modbench_compare({calls})\n    assert found.reason\n"
    )
    suite.shows(f"test_speed.py::test_speed *{word}", f"inconclusive: test_speed.py::test_speed: *{why}*")


def test_a_slowdown_that_is_gone_when_measured_again_fails_nothing(suite: Any) -> None:
    suite.write(
        "def test_speed(modbench_compare, modbench_clock, takes):\n"
        "    baseline, slow, fast, calls = takes(0.01), takes(0.011, seed=1), takes(0.01, seed=2), []\n"
        "    def candidate():\n"
        "        calls.append(1)\n"
        "        (slow if len(calls) <= 60 else fast)()\n"
        "    assert modbench_compare(baseline, candidate).verdict == 'inconclusive'\n"
        "    assert len(calls) > 80\n"
    )
    suite.shows("inconclusive: *at first (0.9*×), not when measured again")


def test_a_candidate_that_drifts_fails_nothing(suite: Any) -> None:
    """It gets slower by a hundredth with every call: how much slower it is depends on when one looks."""
    suite.write(
        "def test_speed(modbench_compare, modbench_clock, takes):\n"
        "    taken = [0.012]\n"
        "    def drifts():\n"
        "        modbench_clock.now += taken[0]\n"
        "        taken[0] *= 1.01\n"
        "    assert 'not steady' in modbench_compare(takes(0.01), drifts).labels\n"
    )
    suite.shows("inconclusive: *not steady*")


def test_a_baseline_that_differs_from_itself_decides_nothing(suite: Any) -> None:
    """Every third call of the baseline is the A/A control's or its own by chance of the order: here it is slow on each second
    call.
    """
    suite.write(
        "def test_speed(modbench_compare, modbench_clock, takes, monkeypatch):\n"
        "    import modbench.plugins.python.callables as callables\n"
        "    time = callables.time_callables\n"
        "    def uneven(calls, **asked):\n"
        "        process = time(calls, **asked)\n"
        "        aa_control = process.samples['baseline (again)']\n"
        "        aa_control.update({name: [1.2 * each for each in aa_control[name]] for name in ('wall_s', 'cpu_s')})\n"
        "        return process\n"
        "    monkeypatch.setattr(callables, 'time_callables', uneven)\n"
        "    assert modbench_compare(takes(0.01), takes(0.012, seed=1)).verdict == 'inconclusive'\n"
    )
    suite.shows("inconclusive: *differs from itself*")


def test_the_result_holds_samples_and_the_interval(suite: Any) -> None:
    suite.write(
        "def test_speed(modbench_compare, takes):\n"
        "    found = modbench_compare(takes(0.01), takes(0.01, seed=1))\n"
        "    assert found.interval[0] < found.ratio < found.interval[1]\n"
        "    assert len(found.process.samples['candidate']['wall_s']) == 40\n"
        "    assert found.labels == ('one process',)\n"
    )
    suite.run().assert_outcomes(passed=1)


MARGINS = """
import pytest
def test_ini(modbench_compare, takes):
    assert modbench_compare(takes(0.01), takes(0.01, seed=1)).margin == 0.3
@pytest.mark.modbench(margin=0.2)
class TestMarked:
    @pytest.mark.modbench(rounds=8)
    def test_marker(self, modbench_compare, takes):
        found = modbench_compare(takes(0.01), takes(0.011, seed=1))
        assert found.margin == 0.2
        assert len(found.process.samples["candidate"]["wall_s"]) == {rounds}
    def test_call(self, modbench_compare, takes):
        assert modbench_compare(takes(0.01), takes(0.011, seed=1), margin=0.25, rounds=6).margin == 0.25
"""


def test_the_call_goes_before_the_marker_and_that_before_the_configuration(suite: Any) -> None:
    suite.pytester.makeini("[pytest]\nmodbench_margin = 0.3\nmodbench_rounds = 7\naddopts = --strict-markers\n")
    suite.write(MARGINS.replace("{rounds}", "16"))
    suite.run(rounds=None).assert_outcomes(passed=3)


def test_rounds_of_the_command_line_go_before_all(suite: Any) -> None:
    suite.write(MARGINS.replace("{rounds}", "18"))
    suite.run("-k", "marker", rounds=9).assert_outcomes(passed=1, deselected=2)


THREADS = """
import pytest, torch
def seen(compare, takes, **asked):
    calls, fast = set(), takes(0.01)
    def call():
        calls.add(torch.get_num_threads())
        fast()
    compare(call, call, **asked)
    return calls
def test_ini(modbench_compare, takes):
    assert seen(modbench_compare, takes) == {3}
@pytest.mark.modbench(threads=4)
def test_marker(modbench_compare, takes):
    assert seen(modbench_compare, takes) == {4}
@pytest.mark.modbench(threads=4)
def test_call(modbench_compare, takes):
    assert seen(modbench_compare, takes, threads=5) == {5}
"""


def test_threads_are_asked_for_like_the_rest_and_put_back(suite: Any) -> None:
    before = torch.get_num_threads()
    suite.pytester.makeini("[pytest]\nmodbench_threads = 3\n")
    suite.write(THREADS)
    suite.run(rounds=6).assert_outcomes(passed=3)
    assert torch.get_num_threads() == before


def test_an_undecided_comparison_of_several_threads_names_the_remedy(suite: Any) -> None:
    suite.write(
        "def test_speed(modbench_compare, takes, monkeypatch):\n"
        "    import modbench.plugins.python.callables as callables\n"
        "    time = callables.time_callables\n"
        "    def busy(calls, **asked):\n"
        "        process = time(calls, **asked)\n"
        "        for columns in process.samples.values():\n"
        "            columns['wait_s'] = columns['wall_s']\n"
        "        return process\n"
        "    monkeypatch.setattr(callables, 'time_callables', busy)\n"
        "    for threads in (2, 1):\n"
        "        modbench_compare(takes(0.01), takes(0.0102, seed=1), threads=threads)\n"
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    advice = "2 threads on * core*, busy: use threads=1, or start pytest with OMP_NUM_THREADS=1"
    first = f"inconclusive: test_speed.py::test_speed: *100 % of the blocks are noisy*; {advice}"
    result.stdout.fnmatch_lines([first, "inconclusive: test_speed.py::test_speed (2): *"])
    assert result.stdout.str().count("OMP_NUM_THREADS") == 1


def test_several_comparisons_of_one_test_are_told_apart(suite: Any) -> None:
    suite.write(
        "def test_speed(modbench_compare, takes):\n"
        "    for name in (None, None, 'third'):\n"
        "        modbench_compare(takes(0.01), takes(0.01, seed=1), name=name)\n"
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    ids = ["test_speed.py::test_speed  *", "test_speed.py::test_speed (2)  *", "test_speed.py::test_speed (third)  *"]
    result.stdout.fnmatch_lines(ids)


IMPOSSIBLE = {
    "1, takes(1)": "baseline is int",
    "takes(1), takes(1), margin=0": "margin = 0 is",
    "takes(1), takes(1), rounds=2.5": "rounds = 2.5: * from 6",
    "takes(1), takes(1), rounds=5": "rounds = 5: * from 6",
    "takes(1), takes(1), threads=0": "threads = 0: * from 1",
}


def test_an_impossible_call_says_what_would_work(suite: Any) -> None:
    each = "def test_{}(modbench_compare, takes):\n    modbench_compare({})\n"
    suite.write("".join(each.format(number, call) for number, call in enumerate(IMPOSSIBLE)))
    suite.shows(*(f"*UsageError: *{said}*" for said in IMPOSSIBLE.values()), rounds=None, failed=len(IMPOSSIBLE))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("modbench_compare(takes(1), takes(1), margin=5)", "margin = 5 is *0.05 is 5 %."),
        ("modbench_compare(takes(1), takes(1), margn=0.1)", "*'margn'.* 'margin'?*"),
        ("modbench_compare(takes(1))", "modbench_compare needs candidate.*modbench_compare(*"),
        ("mb.compare(abs, abs, 1)", "mb.compare takes 2 *got 3. * mb.compare(*"),
        ("mb.compare({'a': abs, 'b': abs}, (1,), margn=0.1)", "*'margn'.* 'margin'?*"),
    ],
)
def test_of_a_mistake_the_own_line_is_shown_and_one_sentence(call: str, said: str, suite: Any) -> None:
    suite.write(f"import modbench as mb\ndef test_speed(modbench_compare, takes):\n    {call}\n")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f">       {call.replace('[', '[[]')}", f"E       *UsageError: {said}"])
    shown = result.stdout.str()
    assert "modbench/harness" not in shown
    assert "modbench/python" not in shown
    assert len(shown.partition("FAILURES")[2].partition("short test summary")[0].splitlines()) < 15


def test_two_comparisons_of_one_name_are_refused(suite: Any) -> None:
    call = "    modbench_compare(takes(0.01), takes(0.01), name='one')\n"
    suite.write(f"def test_speed(modbench_compare, takes):\n{call}{call}")
    suite.shows("*UsageError: *named 'one'*", failed=1)


@pytest.mark.parametrize(("mark", "said"), [("0.05", "takes keywords"), ("marign=0.05", "Did you mean 'margin'?")])
def test_a_marker_that_says_nothing_is_refused(mark: str, said: str, suite: Any) -> None:
    suite.write(
        f"import pytest\n@pytest.mark.modbench({mark})\ndef test_speed(modbench_compare, takes):\n"
        "    modbench_compare(takes(1), takes(1))\n"
    )
    result = suite.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*{said}*"])


@pytest.mark.parametrize(
    ("ini", "rounds", "said"),
    [
        ("", 3, "rounds = '3'"),
        ("modbench_margin = no", None, "margin = 'no'"),
        ("modbench_rounds = 1", None, "rounds = '1'"),
        ("modbench_threads = all", None, "threads = 'all'"),
    ],
)
def test_an_impossible_option_is_one_line_before_any_test_runs(
    ini: str, rounds: int | None, said: str, suite: Any, slower: Slower
) -> None:
    suite.pytester.makeini(f"[pytest]\n{ini}\n")
    suite.write(slower(0.01))
    result = suite.run(rounds=rounds)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.stderr.lines if line.strip())
    assert f"ERROR: modbench: {said}" in line


def test_disabled_everything_is_called_once_and_nothing_judged(suite: Any) -> None:
    suite.write(
        "def test_speed(modbench_compare):\n"
        "    called = []\n"
        "    found = modbench_compare(lambda: called.append(1), lambda: called.append(2))\n"
        "    assert called == [1, 2] and found.ratio is None and found.verdict == 'not judged'\n"
    )
    result = suite.run("--modbench-disable")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_speed.py::test_speed *not judged", "inconclusive: *--modbench-disable"])


def test_beside_other_workers_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "1")
    assert comparer.reason_not_to_time() is None
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    assert "another worker" in str(comparer.reason_not_to_time())


@pytest.mark.slow
def test_workers_tell_the_summary_of_the_parent(suite: Any, slower: Slower) -> None:
    suite.write(slower(0.011), "test_one")
    suite.write(slower(0.011), "test_two")
    result = suite.run("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["inconclusive: test_*.py::test_speed and 1 more: another worker*"])


def test_a_tool_that_watches_every_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As coverage does from Python 3.12 on, which has `sys.monitoring`."""
    tools = {1: "coverage"}
    fake = SimpleNamespace(get_tool=tools.get, get_events=lambda _tool: 1)
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


def test_a_comparison_is_a_property_of_the_test_in_junit_files(suite: Any, slower: Slower) -> None:
    suite.write(slower(0.01))
    suite.run("--junitxml=out.xml")
    text = (suite.pytester.path / "out.xml").read_text(encoding="utf-8")
    found: Any = re.search(r'name="modbench" value="([^"]*)"', text)
    assert json.loads(found[1].replace("&quot;", '"'))["verdict"] == "equivalent"


def test_it_may_be_loaded_by_name_and_by_its_entry_point(suite: Any, slower: Slower) -> None:
    """As in an environment that has modbench installed, where `-p modbench.plugins.pytest.fixtures` was given too."""
    suite.write(slower(0.01))
    result = suite.run("-p", "modbench.pytest_entry", "-p", "modbench.plugins.pytest.fixtures")
    result.assert_outcomes(passed=1)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert declared["pytest11"] == {"modbench": "modbench.pytest_entry"}


@pytest.mark.slow
def test_the_plug_in_imports_nothing_heavy(tmp_path: Path) -> None:
    """A start of pytest, and a session whose tests compare nothing."""
    (tmp_path / "test_none.py").write_text(
        "import sys\ndef test_none():\n"
        f"    assert not [name for name in sys.modules if name.startswith({HEAVY!r})]\n"
        "    assert 'modbench.plugins.pytest.fixtures' in sys.modules\n"
    )
    plugins = ("-p", "modbench.plugins.pytest.fixtures", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-q", *plugins, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "modbench" not in done.stdout, "a session that compares nothing shows nothing"


@pytest.mark.parametrize("value", [1, torch.nan, -0.1, 0, True, [0.05], "1", "nan", "100%", "much"])
def test_a_margin_is_a_share_below_1_wherever_it_is_given(value: object) -> None:
    given: dict[str, Any] = {"margin": value}
    nothing: dict[str, Any] = {}
    for call, marker, ini in ((given, nothing, nothing), (nothing, given, nothing), (nothing, nothing, given)):
        with pytest.raises(UsageError, match=r"0\.05 is 5 %"):
            resolve(call, marker, ini, {})
    for text in (0.05, "0.05", "5%", "5 %"):
        assert resolve({"margin": text}, {}, {}, {}).margin == 0.05
