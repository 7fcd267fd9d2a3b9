"""The table of imported components: `components.csv`, and the numbers of its panel."""

from __future__ import annotations

import pandas as pd

from modbench.harness.results.components import Components, kept
from modbench.reports.tables.load import Loaded

COLUMNS = (
    *("source", "name", "group", "rounds", "iterations", "min_s", "q1_s", "median_s", "q3_s", "mean_s"),
    *("flops", "bytes", "flop_per_s", "bytes_per_s", "cpu", "same_cpu", "verdict", "reason"),
)
NO_VERDICT = "one process: no launches, so no interval and no verdict"


def table(loaded: Loaded) -> pd.DataFrame:
    """Return a row for each imported benchmark; no row if nothing was imported.

    Raises:
        DamagedError: if an imported file is damaged.
    """
    rows = [
        {
            "source": file.source,
            **each.model_dump(include={*COLUMNS} - {"source"}),
            "flop_per_s": _rate(each.flops, each.median_s),
            "bytes_per_s": _rate(each.bytes, each.median_s),
            "cpu": file.cpu,
            "same_cpu": file.cpu == loaded.run.environment["cpu"],
            "verdict": None,
            "reason": NO_VERDICT,
        }
        for file in kept(loaded.path)
        for each in file.components
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rate(amount: float | None, seconds: float) -> float | None:
    return amount / seconds if amount and seconds else None


def told(loaded: Loaded, file: Components) -> str:
    """Say where a file comes from, and whether it was another machine than the run's."""
    where = f"{file.cpu or 'a processor that the file does not name'}"
    said = f"{file.source}: pytest-benchmark {file.version or '(version unknown)'}, {file.measured[:10] or 'no date'}, {where}."
    other = file.cpu != loaded.run.environment["cpu"]
    return f"{said} Another processor than that of the run: do not compare times." if other else said
