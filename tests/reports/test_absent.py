"""A stored run whose plug-in is absent: what the plug-in made is named, and all else is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import goldens
import pandas as pd
import pytest
from fresh_catalogue import forget

from modbench.harness.registry import plugin_manifests
from modbench.reports import demo

# Goldens, the plug-in that each needs, and a name of what is not shown.
RUNS = {
    "gpu": ("machine", "energy/total"),
    "search": ("search", "bisection"),
    "isoflop": ("sweeps", "confirmation"),
    "trend": ("sweeps", "loss/confirmed"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.plugin(RUNS[name][0])) for name in RUNS])
def test_the_rest_of_a_run_is_shown(name: str, tmp_path: Path, modbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    absent, said = RUNS[name]
    packed = next(iter(sorted(goldens.FOLDERS[name].glob("*.json.xz"))))
    demo.unpack(tmp_path / "run", packed)
    every = [each for each in plugin_manifests._shipped() if absent not in {each.name, *each.needs}]
    monkeypatch.setattr(plugin_manifests, "_shipped", lambda: iter(every))
    forget()
    try:
        done = modbench("report", "run", cwd=tmp_path)
    finally:
        monkeypatch.undo()
        forget()
    assert done.returncode in {0, 4}, done.stderr
    told = " ".join(done.stdout.split())
    assert said in told.partition("not shown: ")[2].partition("(plug-in absent)")[0]
    here = pd.read_csv(tmp_path / "run" / "cases.csv")
    stored = goldens.FOLDERS[name] / "data" / "cases.csv"
    before = pd.read_csv(stored) if stored.exists() else here
    values = before.set_index(["case_id", "metric"]).value
    same = here[here.status == "ok"].set_index(["case_id", "metric"]).value
    assert (same == values.loc[same.index]).all()
