"""What tests do with planted runs (`src/modbench/planted_runs.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from resealed import reseal_with

from modbench.harness.machine import environment
from modbench.harness.machine.certificate import fingerprint
from modbench.harness.planning.plan import Plan
from modbench.harness.results.run_folder import RunFolder
from modbench.planted_runs import planted_run, unsynced
from modbench.reports.html_report import render
from modbench.reports.tables.load import load


def stored(tmp_path: Path, made: Plan, **how: Any) -> pd.DataFrame:
    """A planted run with its tables, and `comparisons.csv`. Takes what `planted_run` takes."""
    folder = planted_run(tmp_path, made, **how)
    with unsynced():
        render.views(load(folder), ["csv"])  # `render.write` adds the page, which takes far longer
    return pd.read_csv(folder / "comparisons.csv")


def ended(folder: Path) -> None:
    """Leave what a run leaves that has ended."""
    RunFolder(folder).write_finished(
        {"ended": "2026-01-01T00:00:00+00:00", "wall_s": 9.0, "timed_wall_s": 5.0, "parent_cpu_s": 0.01}
    )


def measured_here(folder: Path) -> None:
    """Let a run be one of this machine, which may resume it."""
    machine = fingerprint(environment.collect(), "cpu", 1)
    reseal_with(folder / "run.json", lambda body: body["environment"].update(machine=machine))
