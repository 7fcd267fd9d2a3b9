"""Which capacity is recommended where a confirmation compared the best of a sweep on new seeds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_sweeps import confirmed, sweep

from modbench.extend import planted_run
from modbench.harness.core.errors import UsageError
from modbench.plugins.recommend import question as recommend
from modbench.plugins.recommend.report import capacity_as_dict
from modbench.plugins.sweeps.confirmation import question as confirmation
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.load import load

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("truth", "pays", "variant", "said"),
    [
        ({"mod": -0.1, "noise": 0.0}, False, None, "inconclusive"),  # noise does as well
        ({"mod": -0.1, "noise": 0.1, "roles": ["baseline", "best"]}, None, None, "inconclusive"),  # no control
        # Never seeds on top: that would be an interim analysis without a level.
        ({"mod": -0.02, "noise": 0.1, "run_noise": 0.05}, None, None, "seeds"),
        ({"mod": 0.1, "noise": 0.1}, False, "dense", "dense is the best at equal training FLOPs"),
    ],
)
def test_a_capacity_is_recommended_only_where_it_pays(
    truth: dict[str, Any], pays: bool | None, variant: str | None, said: str, tmp_path: Path
) -> None:
    found = recommend.recommend_capacity(confirmed(tmp_path, **truth))
    assert (found.variant, found.capacity, capacity_as_dict(found)["pays"]) == (variant, None, pays)
    assert said in plain(recommend.capacity_headline(found))


def test_the_command_prints_it_unless_a_runner_up_turns_out_better(
    tmp_path: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    paying = confirmed(tmp_path, mod=-0.1, noise=0.1)
    assert json.loads(modbench("recommend", paying.path, "--json").stdout)["capacity"] == 0.25
    for limit in (("--max-loss-increase", "1%"), ("--minimize", "memory")):  # it would hold to none
        refused = modbench("recommend", paying.path, *limit, "--json")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert limit[0] in refused.stderr
    verdicts = {"baseline": "better", "control": "better", "runner_up": "worse"}
    monkeypatch.setattr(confirmation.Answer, "verdict", lambda _, role: verdicts[role])
    assert recommend.recommend_capacity(paying).variant is None


@pytest.mark.parametrize(
    ("how", "said"),
    [({"confirm": None, "metrics": ["loss/val_causal"]}, "confirmed nothing"), ({}, r"`modbench resume .* goes on")],
)
def test_a_sweep_that_confirmed_nothing_or_was_interrupted_is_refused(
    how: dict[str, Any], said: str, tmp_path: Path
) -> None:
    made = sweep(**how)
    folder = planted_run(tmp_path, made, losses={case.id: 2.0 for case in made.cases})
    for told in folder.glob("decisions/*"):
        told.unlink()
    with pytest.raises(UsageError, match=said):
        recommend.recommend_capacity(load(str(folder)))
