"""Load processes in process sessions of their own, and the pairs that are decided beside them."""

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

import load
import planted_pairs
import pytest
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
def test_each_load_process_is_in_a_session_of_its_own() -> None:
    with load.load(2) as pids:
        assert len(pids) == 2
        assert [os.getsid(pid) for pid in pids] == pids
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


def decision(found: Found, *, tool: str = "ours", more: int = 100, beside: int = 0, wall_s: float = 10.0) -> Decision:
    """A decision with one row."""
    return Decision(beside, tool, more, wall_s, 0.5, {tool: found})


def test_a_table_counts_what_each_rule_said_with_exact_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    made = [
        *[decision(Found("equivalent", "undecided", 1.0))] * 18,
        decision(Found("better", "better", 0.9), wall_s=30.0),
        decision(Found("better_open", "worse", 1.01)),
        decision(Found("worse", "worse", 1.03), tool="threshold", more=103, beside=6),
    ]
    planted_pairs.table(made)
    heads, _, *rows = capsys.readouterr().out.splitlines()
    assert heads.endswith(
        "| equal: *better* or *worse* | told apart | RMS error | +3 %: *worse* | told apart | RMS error |"
    )
    off = math.expm1(math.sqrt((math.log(0.9) ** 2 + math.log(1.01) ** 2) / 20))
    assert rows == [
        f"| ours | 0 | 50% | 10 | 1 of 20 (0.1–24.9 %) | 2 of 20 (1.2–31.7 %) | {off:.2%} | – | – | – |",
        "| threshold | 6 | 50% | 10 | – | – | – | 1 of 1 (2.5–100.0 %) | 1 of 1 (2.5–100.0 %) | 0.00% |",
    ]


def test_ours_says_what_both_clocks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of planted samples with 3 % more work."""
    made: list[int] = []

    def launched(_process: object, _less: int, _more: int, rounds: int) -> ProcessSamples:
        time.sleep(0.02)
        quiet = World(rounds=rounds, process_sd=0.001, sample_sd=0.002)
        samples = simulate.process(quiet, {"less": 1.0, "more": 1.03}, random.Random(len(made)))
        made.append(rounds)
        return ProcessSamples(samples["more"], None, samples["less"], simulate.blocks(rounds))

    monkeypatch.setattr(load, "in_a_fresh_process", launched)
    found, core = planted_pairs.ours(103, 0.4, 3)
    assert 3 < len(made) <= 20
    assert {*made} == {planted_pairs.ROUNDS}
    assert core == pytest.approx(1.0)
    for row in ("**ours**", "**ours**, wall time alone", "**ours**, CPU time alone"):
        each = found[row]
        assert (each.said, each.apart) == ("worse", "worse")
        assert each.ratio == pytest.approx(1.03, abs=0.003)
