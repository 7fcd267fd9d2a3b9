"""The Pareto set: a setting is ruled out only where another is shown to be better and in nothing worse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from panels_of import drawn, shown
from planted_choice import MEMORY, TAKES, TIME, run

from modbench.reports.model import Sentence, Table
from modbench.reports.panels import pareto
from modbench.reports.panels.pareto import PANEL
from modbench.reports.questions.recommend.candidates import Candidate, choice
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.number_format import plain

# Bytes are 1, 2, 3, 4, 5 MB in this order.
DENSE, RUNG, LOW, HIGH, MOE = "dense", "dense-f0.58", "mod[c0.125]", "mod[c0.5]", "moe"


def beaten(loaded: Loaded) -> dict[str, str | None]:
    """By whom each arm is ruled out."""
    _, found = pareto.pareto(loaded, choice(loaded))
    return {each.candidate.case.arm: each.beaten_by.case.arm if each.beaten_by else None for each in found}


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("pareto") / "timed", suite={"metrics": [TIME, MEMORY]})


@pytest.mark.slow
def test_what_is_slower_and_larger_is_ruled_out(timed: Loaded) -> None:
    """0.7 of dense's time with 2 MB beats 0.8 with 4 MB, and dense beats 1.25 with 5 MB: by one that itself stays."""
    assert beaten(timed) == {DENSE: None, RUNG: None, LOW: None, HIGH: RUNG, MOE: DENSE}
    axes, found = pareto.pareto(timed, choice(timed))
    assert axes == ("latency", "memory")
    assert {each.better_in for each in found if each.beaten_by} == {("latency", "memory")}


@pytest.mark.slow
def test_undecided_neighbours_stay(tmp_path: Path) -> None:
    """By the estimates MoD 0.5 is slower and larger than MoD 0.125; that it is slower is not shown."""
    takes = TAKES | {RUNG: 0.95, HIGH: 0.61}
    noisy = run(tmp_path / "noisy", sd=0.03, slower=takes, suite={"metrics": [TIME, MEMORY], "launches": 5})
    _, found = pareto.pareto(noisy, choice(noisy))
    times = {each.candidate.case.arm: each.candidate.time.value or 0.0 for each in found}
    assert abs(times[HIGH] / times[LOW] - 1) < 0.1
    assert beaten(noisy)[HIGH] is None
    assert beaten(noisy)[MOE] is not None


@pytest.mark.slow
def test_a_loss_counts_where_it_is_shown(tmp_path: Path) -> None:
    """MoE loses nothing: that it is no worse is not shown, nor that it is worse, so it stays. MoD 0.5 has a higher loss."""
    assert beaten(run(tmp_path / "three")) == {DENSE: None, RUNG: None, LOW: None, HIGH: RUNG, MOE: None}
    two = run(tmp_path / "two", suite={"seeds": [0, 1]})
    assert {*beaten(two).values()} == {None}
    future = run(tmp_path / "future", causal=False)
    assert {*beaten(future).values()} == {None}


@pytest.mark.slow
def test_times_without_verdicts_rule_nothing_out(tmp_path: Path) -> None:
    unchecked = run(tmp_path / "unchecked", certificate=None, suite={"metrics": [TIME, MEMORY]})
    assert {*beaten(unchecked).values()} == {None}


@pytest.mark.slow
def test_settings_that_beat_each_other_in_a_circle_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal within a margin is not passed on: a set of settings never becomes empty."""
    even = run(tmp_path / "even", slower={}, sd=0.0001, suite={"metrics": [TIME]})
    circle = {(DENSE, LOW), (LOW, HIGH), (HIGH, DENSE), (HIGH, MOE)}

    def versus(_: Loaded, one: Candidate, other: Candidate) -> str:
        return pareto.BETTER if (one.case.arm, other.case.arm) in circle else pareto.OPEN

    monkeypatch.setitem(pareto.VERSUS, "latency", versus)
    assert beaten(even) == {DENSE: None, RUNG: None, LOW: None, HIGH: None, MOE: HIGH}


@pytest.mark.slow
def test_the_panel_says_who_stays_and_why_others_do_not(timed: Loaded, tmp_path: Path) -> None:
    page = shown(PANEL, timed)
    (drawing,) = drawn(PANEL, timed)
    assert isinstance(drawing.caption, Sentence)
    stay: Any = drawing.caption.given["settings"]
    assert [case.arm for case in vars(stay)["values"]] == [DENSE, RUNG, LOW]
    assert "No loss" in drawing.caption.words
    (table,) = (each for each in PANEL.render(timed) or () if isinstance(each, Table))
    rows_out: Any = table.rows
    assert [(case.arm, by.arm, plain(axes)) for case, by, axes in rows_out] == [
        (HIGH, RUNG, "time and memory"),
        (MOE, DENSE, "time and memory"),
    ]
    assert "peak memory" in page
    rows = drawing.data.set_index("arm")
    assert rows.loc[HIGH, "ruled_out_by"] == RUNG
    assert rows.loc[LOW, "value"] == pytest.approx(0.012, rel=0.01)
    assert list(rows.other_value) == [1e6, 2e6, 3e6, 4e6, 5e6]
    assert drawing.marks is not None
    (said,) = (mark.text for mark in drawing.marks.said if mark.arm == HIGH)
    assert re.match(r"MoD 0\.5: 1\d\.\d ms \[", said)
    assert re.search(r"\], 3\.81 MiB, ruled out by dense 5\d %", said)
    future = shown(PANEL, run(tmp_path / "future", causal=False))
    assert "bits/byte (lower is better)" in future
    assert future.count("<figure") == 2
    assert "Hollow:" in future
    assert not shown(PANEL, run(tmp_path / "alone", suite={"metrics": [TIME]}))
    assert not shown(PANEL, run(tmp_path / "untimed", suite={"metrics": [MEMORY]}))
