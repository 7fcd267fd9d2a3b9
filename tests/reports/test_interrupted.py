"""A run that was interrupted shows what its finished processes have measured, and gives no verdict on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate.gate import gate
from modbench.reports.questions.machine_check import doubtful
from modbench.reports.tables.load import Loaded, load

TIME, PROCESSES = "latency/forward", 4
SUITE: dict[str, Any] = {"metrics": [TIME], "processes": PROCESSES, "rounds": 6, "aa_control": True}


def run(folder: Path, ended: int, *lengths: int) -> Loaded:
    """A run of two lengths, or of one: of the longer so many processes have ended, of the shorter all."""
    grid = {"seq_len": lengths or (64, 128)}
    path = planted_run(folder, planted_plan("draft", **SUITE, grid=grid), certificate=None)
    for process in range(ended, PROCESSES):
        next(path.glob(f"jobs/time-forward-T128-*-process{process}.json")).unlink()
    return load(path)


@pytest.mark.parametrize("ended", [0, 1, 2, 3, PROCESSES])
def test_two_processes_or_more_give_a_ratio_three_an_interval_and_all_of_them_a_verdict(
    tmp_path: Path, ended: int
) -> None:
    loaded = run(tmp_path, ended)
    short, long = loaded.between(TIME, "mod[c0.125]", "dense")
    assert (short.status, isinstance(short.verdict, str)) == ("ok", True)
    assert (long.status, isinstance(long.verdict, str)) == ("ok" if ended > 1 else "skipped", ended == PROCESSES)
    if 1 < ended < PROCESSES:
        assert (long.processes, f"{ended} of {PROCESSES} processes" in long.reason) == (ended, True)
        assert (long.ci_low < long.ratio < long.ci_high) is (ended > 2)
    cases = loaded.cases[loaded.cases.seq_len == 128]
    assert set(cases.n.dropna()) == ({ended} if ended > 1 else set())


def test_verdicts_of_the_rest_are_those_of_the_whole_run(tmp_path: Path) -> None:
    whole, part = (run(tmp_path / str(ended), ended).pairs for ended in (PROCESSES, 3))
    keys = ["case_id", "baseline_case_id", "metric"]
    first, second = (rows[rows.seq_len == 64].set_index(keys).verdict for rows in (whole, part))
    assert first.notna().any()
    assert first.equals(second)


def test_where_no_aa_control_has_all_processes_it_is_said_what_would_help(tmp_path: Path) -> None:
    assert not doubtful(run(tmp_path / "part", 2))
    (said,) = doubtful(run(tmp_path / "alone", 3, 128))
    assert "modbench resume" in plain(said)


def test_a_gate_does_not_compare_a_time_of_fewer_processes(tmp_path: Path) -> None:
    found = gate(run(tmp_path / "base", PROCESSES), run(tmp_path / "new", 3), 0.5).findings
    words = [each.verdict for each in found if each.what.startswith("mod[c0.125") and each.metric == TIME]
    assert words == ["not alternated", "not compared"]
