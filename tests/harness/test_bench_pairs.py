"""Load processes in process sessions of their own, and the pairs that are decided beside them."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import load
import planted_pairs
import pytest
import simulate
from simulate import World

from modbench.harness.stats.paired import ProcessSamples


def runs(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_each_load_process_is_in_a_session_of_its_own() -> None:
    with load.load(2) as pids:
        assert len(pids) == 2
        assert [os.getsid(pid) for pid in pids] == pids
    assert not any(map(runs, pids))


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
