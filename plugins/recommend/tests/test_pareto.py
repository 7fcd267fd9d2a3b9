"""The Pareto set: a setting is ruled out only where another is shown to be better and in nothing worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted_choice import DENSE, HIGH, LOW, MATCHED, MEMORY, MOE, TAKES, TIME, run

from modbench.harness.stats.verdicts import BETTER
from modbench.plugins.recommend import section as pareto
from modbench.plugins.recommend.candidates import Candidate, choice
from modbench.reports.tables.load import Loaded

pytestmark = pytest.mark.slow


def beaten(loaded: Loaded) -> dict[str, str]:
    """By whom each variant that is ruled out is."""
    _, found = pareto.pareto(loaded, choice(loaded))
    return {each.candidate.case.variant: each.beaten_by.case.variant for each in found if each.beaten_by}


@pytest.mark.parametrize(
    ("how", "out"),
    [
        # MoE loses nothing: that it is no worse is not shown, nor that it is worse, so it stays. MoD 0.5 has a higher loss.
        pytest.param({}, {HIGH: MATCHED}, id="a loss counts where it is shown"),
        pytest.param({"suite": {"seeds": [0, 1]}}, {}, id="two seeds show none"),
        pytest.param({"causal": False}, {}, id="a loss that saw the future shows none"),
        pytest.param({"certificate": None, "suite": {"metrics": [TIME, MEMORY]}}, {}, id="times without verdicts"),
    ],
)
def test_only_what_is_shown_rules_out(how: dict[str, Any], out: dict[str, str], tmp_path: Path) -> None:
    assert beaten(run(tmp_path / "run", **how)) == out


def test_undecided_neighbours_stay(tmp_path: Path) -> None:
    """By the estimates MoD 0.5 is slower and larger than MoD 0.125; that it is slower is not shown."""
    takes = TAKES | {MATCHED: 0.95, HIGH: 0.61}
    noisy = run(tmp_path / "noisy", sd=0.03, slower=takes, suite={"metrics": [TIME, MEMORY], "processes": 5})
    assert HIGH not in beaten(noisy)
    assert MOE in beaten(noisy)


def test_settings_that_beat_each_other_in_a_circle_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal within a margin is not passed on: a set of settings never becomes empty."""
    circle = {(DENSE, LOW), (LOW, HIGH), (HIGH, DENSE), (HIGH, MOE)}

    def versus(_: Loaded, one: Candidate, other: Candidate) -> str:
        return BETTER if (one.case.variant, other.case.variant) in circle else pareto.OPEN

    monkeypatch.setitem(pareto.VERSUS, "latency", versus)
    assert beaten(run(tmp_path / "even", slower={}, sd=0.0001, suite={"metrics": [TIME]})) == {MOE: HIGH}
