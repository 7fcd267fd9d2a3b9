"""Which capacity is recommended where a confirmation compared the best of a sweep on new seeds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from test_confirm import planted
from test_confirming import sweep

from modbench.extend import planted_run
from modbench.harness.core.errors import UsageError
from modbench.plugins.recommend import question as recommend
from modbench.plugins.recommend.report import capacity_as_dict
from modbench.plugins.sweeps.confirmation import question as confirmation
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.load import load

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]


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
    assert "seeds" in first


def test_the_command_prints_it(tmp_path: Path, modbench: Modbench) -> None:
    paying = planted(tmp_path, mod=-0.1, noise=0.1)
    assert json.loads(modbench("recommend", paying.path, "--json").stdout)["capacity"] == 0.25
    for limit in (("--max-loss-increase", "1%"), ("--minimize", "memory")):  # it would hold to none
        refused = modbench("recommend", paying.path, *limit, "--json")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert limit[0] in refused.stderr


def test_a_sweep_that_confirmed_nothing_is_refused(tmp_path: Path) -> None:
    made = sweep(confirm=None, metrics=["loss/val_causal"])
    folder = planted_run(tmp_path, made, losses={case.id: 2.0 for case in made.cases})
    with pytest.raises(UsageError, match="confirmed nothing"):
        recommend.recommend_capacity(load(str(folder)))


def test_of_a_sweep_that_was_interrupted_it_says_how_to_go_on(tmp_path: Path) -> None:
    made = sweep()
    folder = planted_run(tmp_path, made, losses={case.id: 2.0 for case in made.cases})
    for told in (folder / "decisions").iterdir():
        told.unlink()
    with pytest.raises(UsageError, match=r"`modbench resume .* goes on"):
        recommend.recommend_capacity(load(str(folder)))


def test_without_a_control_nothing_is_said_to_pay(tmp_path: Path) -> None:
    loaded = planted(tmp_path, mod=-0.1, noise=0.1, roles=["baseline", "best"])
    assert recommend.recommend_capacity(loaded).variant is None
