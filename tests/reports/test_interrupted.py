"""A run that was interrupted shows what its finished processes have measured, and gives no verdict on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate.gate import gate
from modbench.reports.questions.machine_check import doubtful
from modbench.reports.tables.load import Loaded, load

PROCESSES = 4
SUITE = {
    "metrics": ["latency/forward", "tokens_per_s/forward"],
    "processes": PROCESSES,
    "rounds": 6,
    "aa_control": True,
}


def run(folder: Path, ended: int) -> Loaded:
    """A run of two lengths: of the shorter all processes have ended, of the longer so many."""
    path = planted_run(folder, planted_plan("draft", **SUITE, grid={"seq_len": [64, 128]}), certificate=None)
    for process in range(ended, PROCESSES):
        (lacks,) = path.glob(f"jobs/time-forward-T128-*-process{process}.json")
        lacks.unlink()
    return load(path)


@pytest.mark.parametrize("ended", [0, 1, 2, 3, PROCESSES])
def test_two_processes_or_more_give_a_ratio_and_all_of_them_a_verdict(tmp_path: Path, ended: int) -> None:
    loaded = run(tmp_path, ended)
    for row in loaded.between("latency/forward", "mod[c0.125]", "dense"):
        assert row.status == ("ok" if row.seq_len == 64 or ended > 1 else "skipped")
        assert isinstance(row.verdict, str) == (row.seq_len == 64 or ended == PROCESSES)
        if row.seq_len == 128 and 1 < ended < PROCESSES:
            assert (row.ci_low < row.ratio < row.ci_high) == (ended > 2)
            assert row.processes == ended
            assert f"{ended} of {PROCESSES} processes" in row.reason
    cases = loaded.cases[loaded.cases.seq_len == 128]
    assert set(cases.n.dropna()) == ({ended} if ended > 1 else set())


def test_verdicts_of_the_rest_are_those_of_the_whole_run(tmp_path: Path) -> None:
    whole, part = run(tmp_path / "whole", PROCESSES), run(tmp_path / "part", 3)
    rows = [
        each.pairs[each.pairs.seq_len == 64].set_index(["case_id", "baseline_case_id", "metric"])
        for each in (whole, part)
    ]
    assert rows[0].verdict.notna().any()
    assert rows[0].verdict.equals(rows[1].verdict)


def test_where_no_aa_control_has_all_processes_it_is_said_what_would_help(tmp_path: Path) -> None:
    assert not doubtful(run(tmp_path / "part", 2))
    path = planted_run(tmp_path, planted_plan("draft", **SUITE, grid={"seq_len": [128]}), certificate=None)
    next(path.glob("jobs/time-forward-T128-*-process3.json")).unlink()
    (said,) = doubtful(load(path))
    assert "modbench resume" in plain(said)


def test_a_gate_does_not_compare_a_time_of_fewer_processes(tmp_path: Path) -> None:
    base, new = run(tmp_path / "base", PROCESSES), run(tmp_path / "new", 3)
    found = gate(base, new, 0.5).findings
    verdicts = {
        each.what: each.verdict
        for each in found
        if each.what.startswith("mod[c0.125") and each.metric == "latency/forward"
    }
    assert [*verdicts.values()] == ["not alternated", "not compared"]
