"""Runs one unit of a run folder: `python -m modbench.harness.execution.unit RUN UNIT`, for launchers that start units elsewhere.

The unit is read from `run.json`, so a job needs no more than two names. It ends with the code of the unit's process: 0 when
there is a record; 2 when the folder or the name is wrong. As `modbench resume` it runs what the folder names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.foreign import refuse_links
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.process import exit_codes
from modbench.harness.results import user_files
from modbench.harness.results.layout import run_file
from modbench.harness.results.run_file import plan_of, read_run_file
from modbench.harness.results.run_folder import RunFolder

# A unit without a limit: a scheduler has its own.
ENDLESS_S = 1e6


def planned(folder: Path, name: str) -> UnitOfWork:
    """Read a unit of the plan in `run.json`; the records of a large run are not read.

    Raises:
        UsageError: if the folder holds no readable plan, or no such unit.
    """
    file = run_file(folder)
    refuse_links(folder)
    told = read_run_file(file)
    user_files.include_again(told.included)
    units = plan_of(told.plan, file, only=name).units
    if not units:
        raise unknown("unit", name, [unit["name"] for unit in told.plan["units"]])
    (unit,) = units
    return unit


def main(arguments: Sequence[str]) -> None:
    """Run a unit and end with its code."""
    parser = argparse.ArgumentParser(prog="python -m modbench.harness.execution.unit", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument("unit", metavar="UNIT", help="the name of a unit in its run.json")
    parser.add_argument("--shipped", action="store_true", help="leave out users' models")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="the unit is ended after this time")
    asked = parser.parse_args(arguments)
    try:
        unit = planned(asked.run, asked.unit)
    except UsageError as error:
        exit_codes.end(error)
    if asked.shipped:
        unit = unit.shipped
    sys.exit(run(unit, asked.run, asked.limit))


def run(unit: UnitOfWork, folder: Path, limit_s: float | None) -> int:
    """Run a unit as this machine's launcher does, with its log, its limit and its environment; returns its exit code.

    A unit that was killed by a signal ends this process with the same signal.
    """
    from modbench.harness.execution.launch.local import LocalLauncher

    place = unit.comparison.place
    launcher = LocalLauncher(cold=True, threads=place.threads, device=place.device)
    RunFolder(folder).record(unit).unlink(
        missing_ok=True
    )  # a unit that is asked for by name runs even if it has a record
    handle = launcher.start(unit, RunFolder(folder), ENDLESS_S if limit_s is None else limit_s)
    try:
        while not launcher.wait([handle], ENDLESS_S):
            pass
    finally:
        launcher.end(handle)
    code = handle.exitcode
    assert code is not None
    if code < 0:
        exit_codes.by_signal(-code)
    return code


if __name__ == "__main__":
    main(sys.argv[1:])
