"""The logs that tell more about failed cells: what a unit's process printed, and the traceback of its exception."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from modbench.harness.results import layout
from modbench.harness.results.run_folder import StoredRun

# The log of a process that died, if another tried after it; else the unit's own.
ENDINGS = (".died.log", ".log")


def logs(run: StoredRun) -> dict[tuple[str, str], str]:
    """Return by case and metric the log of the first unit in which that cell failed, as a path in the run folder."""
    found: dict[tuple[str, str], str] = {}
    for record in run.records:
        cells = {(outcome.case, outcome.metric) for outcome in record.outcomes if outcome.status == "failed"}
        files = [layout.file_of(run.path, "logs", record.unit.name, ending) for ending in ENDINGS] if cells else []
        log = next((file.relative_to(run.path).as_posix() for file in files if file.is_file()), "")
        for cell in cells if log else ():
            found.setdefault(cell, log)
    return found


def beside(reason: str, known: dict[tuple[str, str], str], case: str, metrics: Collection[str]) -> str:
    """Return the log of a case's failed metrics in words that follow the reason; empty if it names one, or there is none."""
    log = next((known[case, metric] for metric in metrics if (case, metric) in known), None)
    return f"; see {log}" if log is not None and "logs/" not in reason else ""


def in_run_folder(reason: str, folder: Path) -> str:
    """Return a reason whose log is named by a path that can be opened from here, not by one in the run folder."""
    return re.sub(r"; see (?=(?:logs|jobs)/)", lambda _: f"; see {folder}/", reason)
