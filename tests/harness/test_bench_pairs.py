"""Load processes, commands in process sessions of their own, and the pairs that tools decide beside them."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import false_positives
import load
import planted_pairs
import pytest
import ratio_error
import simulate
from fault_process import PATIENCE_S
from planted_pairs import Decision, Found
from simulate import World

from modbench.harness.stats.paired import ProcessSamples

BENCH = Path(load.__file__).parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")


def runs(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@linux
@pytest.mark.parametrize("own", [True, False])
def test_each_load_process_is_in_a_session_of_its_own_unless_told_otherwise(own: bool) -> None:
    with load.load(2, own_sessions=own) as pids:
        assert len(pids) == 2
        assert [os.getsid(pid) for pid in pids] == (pids if own else [os.getsid(0)] * 2)
    assert not any(map(runs, pids))


@pytest.mark.slow
@linux
def test_load_ends_with_a_script_that_is_killed() -> None:
    code = "import load, time\nwith load.load(2) as pids:\n    print(*pids, flush=True)\n    time.sleep(60)"
    script = subprocess.Popen([sys.executable, "-c", code], cwd=BENCH, stdout=subprocess.PIPE, text=True)
    assert script.stdout is not None
    with contextlib.closing(script.stdout):
        pids = [int(each) for each in script.stdout.readline().split()]
    assert len(pids) == 2
    script.send_signal(signal.SIGKILL)
    script.wait()
    until = time.monotonic() + PATIENCE_S
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, pids))


@pytest.mark.parametrize("own", [True, False])
def test_a_command_runs_in_a_session_of_its_own_unless_told_otherwise(own: bool) -> None:
    code = (
        "import os, sys\nprint(os.getpid(), os.getsid(0), os.environ['X'])\nprint('no', file=sys.stderr)\nsys.exit(3)"
    )
    ran = load.run([sys.executable, "-S", "-c", code], {"X": "y"}, own_session=own)
    pid, session, value = ran.out.split()
    assert (ran.code, ran.err, value) == (3, "no\n", "y")
    assert session == (pid if own else str(os.getsid(0)))


CHILD = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nwhile True: time.sleep(1)"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid)
"""


@linux
def test_what_outlives_a_command_is_counted_and_ended() -> None:
    """As a fork server does, whose CPU time its parent never learns."""
    ran = load.run([sys.executable, "-S", "-c", PARENT, CHILD])
    assert 0.3 < ran.cpu_s < 0.8
    assert ran.wall_s > 0.3
    assert not runs(int(ran.out))


def decision(
    found: Found | None = None, *, tool: str = "ours", more: int = 100, beside: int = 0, wall_s: float = 10.0
) -> Decision:
    """A decision with one row."""
    return Decision(beside, tool, more, wall_s, wall_s / 2, {tool: found} if found else {}, "" if found else "it broke")


def test_a_table_counts_what_each_rule_said_with_exact_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted_pairs, "lacks", lambda tool: tool == "pyperf")
    made = [
        *[decision(Found("equivalent", "undecided", 1.0))] * 18,
        decision(Found("better", "better", 0.9), wall_s=30.0),
        decision(Found("better_open", "worse", 1.01)),
        decision(Found("equivalent", "worse", 1.01), more=101),
        decision(Found("equivalent", "better", 1.01), more=101, wall_s=180.0),
        decision(Found("worse", None, 1.03), tool="threshold", more=103, beside=6),
        decision(Found(None, None, 1.03), tool="timer", more=103),
        decision(tool="broken"),
    ]
    assert planted_pairs.table(made, false_positives.COLUMNS).splitlines()[2:] == [
        "| ours | 0 | 50% | 1 of 20 (0.1–24.9 %), 10 s | 2 of 20 (1.2–31.7 %), 10 s | 1 of 2 (1.3–98.7 %), 95 s | – |",
        "| threshold | 6 | 50% | – | – | – | 1 of 1 (2.5–100.0 %), 10 s |",
        "| pyperf: not installed | – | – | – | – | – | – |",
        "",
        "broken beside 0: it broke",
    ]
    rows = planted_pairs.table(made, ratio_error.COLUMNS).splitlines()
    assert rows[0].endswith("| +0%: RMS, worst | +1%: RMS, worst | +3%: RMS, worst |")
    off = math.sqrt((math.log(0.9) ** 2 + math.log(1.01) ** 2) / 20)
    assert (
        rows[2] == f"| ours | 0 | 50% | {math.expm1(off):.2%}, 11.1% (n = 20), 10 s | 0.00%, 0.0% (n = 2), 95 s | – |"
    )
    assert rows[4] == "| timer | 0 | 50% | – | – | 0.00%, 0.0% (n = 1), 10 s |"


def test_ours_says_what_both_clocks_and_the_count_of_instructions_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of planted samples with 3 % more work."""
    made: list[int] = []

    def launched(_process: object, less: int, _more: int, rounds: int) -> ProcessSamples | None:
        if less == 1:  # what starts the fork server
            return None
        time.sleep(0.02)
        rng = random.Random(len(made))
        quiet = World(rounds=rounds, process_sd=0.001, sample_sd=0.002)
        samples = simulate.process(quiet, {"less": 1.0, "more": 1.03}, rng)
        for name, each in samples.items():
            each["instructions"] = [1e6 * (1.03 if name == "more" else 1.0) * calls for calls in each["calls"]]
        made.append(rounds)
        return ProcessSamples(samples["more"], None, samples["less"], simulate.blocks(rounds))

    monkeypatch.setattr(load, "in_a_fresh_process", launched)
    found = planted_pairs.ours(100, 103, 0.4)
    assert 3 < len(made) <= 20
    assert {*made} == {planted_pairs.ROUNDS}
    for row in ("**ours**", "**ours**, wall time alone", "**ours**, CPU time alone"):
        each = found[row]
        assert (each.said, each.apart) == ("worse", "worse")
        assert each.ratio == pytest.approx(1.03, abs=0.003)
    counted = found["**ours**, instructions"]
    assert (counted.said, counted.apart) == (None, None)
    assert counted.ratio == pytest.approx(1.03)
