"""The Pareto set: a setting is ruled out only where another is shown to be better and in nothing worse."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_choice import MEMORY, TAKES, TIME, run

from modbench.harness.stats.verdicts import BETTER
from modbench.plugins.recommend import section as pareto
from modbench.plugins.recommend.candidates import Candidate, choice
from modbench.reports.tables.load import Loaded

pytestmark = pytest.mark.slow

# Bytes are 1, 2, 3, 4, 5 MB in this order.
DENSE, MATCHED_BASELINE, LOW, HIGH, MOE = "dense", "dense-f0.58", "mod[c0.125]", "mod[c0.5]", "moe"


def beaten(loaded: Loaded) -> dict[str, str | None]:
    """By whom each variant is ruled out."""
    _, found = pareto.pareto(loaded, choice(loaded))
    return {each.candidate.case.variant: each.beaten_by.case.variant if each.beaten_by else None for each in found}


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("pareto") / "timed", suite={"metrics": [TIME, MEMORY]})


def test_undecided_neighbours_stay(tmp_path: Path) -> None:
    """By the estimates MoD 0.5 is slower and larger than MoD 0.125; that it is slower is not shown."""
    takes = TAKES | {MATCHED_BASELINE: 0.95, HIGH: 0.61}
    noisy = run(tmp_path / "noisy", sd=0.03, slower=takes, suite={"metrics": [TIME, MEMORY], "processes": 5})
    _, found = pareto.pareto(noisy, choice(noisy))
    times = {each.candidate.case.variant: each.candidate.time.value or 0.0 for each in found}
    assert abs(times[HIGH] / times[LOW] - 1) < 0.1
    assert beaten(noisy)[HIGH] is None
    assert beaten(noisy)[MOE] is not None


def test_a_loss_counts_where_it_is_shown(tmp_path: Path) -> None:
    """MoE loses nothing: that it is no worse is not shown, nor that it is worse, so it stays. MoD 0.5 has a higher loss."""
    assert beaten(run(tmp_path / "three")) == {
        DENSE: None,
        MATCHED_BASELINE: None,
        LOW: None,
        HIGH: MATCHED_BASELINE,
        MOE: None,
    }
    two = run(tmp_path / "two", suite={"seeds": [0, 1]})
    assert {*beaten(two).values()} == {None}
    future = run(tmp_path / "future", causal=False)
    assert {*beaten(future).values()} == {None}


def test_times_without_verdicts_rule_nothing_out(tmp_path: Path) -> None:
    unchecked = run(tmp_path / "unchecked", certificate=None, suite={"metrics": [TIME, MEMORY]})
    assert {*beaten(unchecked).values()} == {None}


def test_settings_that_beat_each_other_in_a_circle_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal within a margin is not passed on: a set of settings never becomes empty."""
    even = run(tmp_path / "even", slower={}, sd=0.0001, suite={"metrics": [TIME]})
    circle = {(DENSE, LOW), (LOW, HIGH), (HIGH, DENSE), (HIGH, MOE)}

    def versus(_: Loaded, one: Candidate, other: Candidate) -> str:
        return BETTER if (one.case.variant, other.case.variant) in circle else pareto.OPEN

    monkeypatch.setitem(pareto.VERSUS, "latency", versus)
    assert beaten(even) == {DENSE: None, MATCHED_BASELINE: None, LOW: None, HIGH: None, MOE: HIGH}
