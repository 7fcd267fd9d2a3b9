"""Which capacity is recommended where a confirmation compared the best of a sweep on new seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_confirm import planted

from modbench.plugins.recommend import question as recommend
from modbench.plugins.recommend.report import capacity_as_dict
from modbench.plugins.sweeps.confirmation import question as confirmation
from modbench.reports.writers.number_format import plain


def test_where_noise_does_as_well_none_is(tmp_path: Path) -> None:
    found = recommend.recommend_capacity(planted(tmp_path, mod=-0.1, noise=0.0))
    assert capacity_as_dict(found)["pays"] is False
    assert found.capacity is None
    assert plain(recommend.capacity_headline(found)).startswith("inconclusive")


def test_a_runner_up_that_turns_out_better_leaves_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paying = planted(tmp_path, mod=-0.1, noise=0.1)
    assert recommend.recommend_capacity(paying).variant is not None
    verdicts = {"baseline": "better", "control": "better", "runner_up": "worse"}
    monkeypatch.setattr(confirmation.Answer, "verdict", lambda _, role: verdicts[role])
    assert recommend.recommend_capacity(paying).variant is None


def test_where_dense_is_better_dense_is(tmp_path: Path) -> None:
    found = recommend.recommend_capacity(planted(tmp_path, mod=0.1, noise=0.1))
    assert (found.variant, found.capacity) == ("dense", None)
    assert plain(recommend.capacity_headline(found)) == "dense is the best at equal training FLOPs"


def test_what_is_not_decided_says_that_new_seeds_would(tmp_path: Path) -> None:
    """Never seeds on top: that would be an interim analysis without a level."""
    found = recommend.recommend_capacity(planted(tmp_path, mod=-0.02, noise=0.1, run_noise=0.05))
    first = plain(recommend.capacity_headline(found))
    assert first.startswith("inconclusive: ")
    assert "new seeds" in first
