"""The Python API: what the commands do, without printing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.harness.core import files, torchrun
from modbench.harness.core.errors import IncompleteError, UsageError
from modbench.harness.execution import runner
from modbench.harness.machine import certificate, environment
from modbench.harness.planning import plan
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.suite import load_suite
from modbench.harness.results.run_folder import RunFolder, create, read
from modbench.harness.results.workspace import Workspace
from modbench.reports import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from modbench.harness.core.case import Device, UnitOfWork
    from modbench.harness.planning.plan import Plan
    from modbench.harness.results.run_folder import StoredRun
    from modbench.progress import Lines, Live
    from modbench.reports.load import Loaded

__all__ = ["Finished", "device_named", "make_plan", "new_folder", "report", "resume", "run"]


@dataclass(frozen=True)
class Finished:
    """A run that has its report.

    Attributes:
        folder: run folder.
        report: the page.
        wall_s: duration of the whole run in s; None for a report made later.
        loaded: records and tables.
    """

    folder: Path
    report: Path
    wall_s: float | None
    loaded: Loaded


def make_plan(
    suite_name: str, flags: Overrides | None = None, select: str | None = None, *, only_plan: bool = False
) -> Plan:
    """Resolve a suite by shipped name or TOML path into a plan.

    Args:
        suite_name: what to resolve.
        flags: the command line's word over the suite's.
        select: `-k` expression over case ids.
        only_plan: nothing will be run here: a suite for a GPU is planned where there is none.

    Raises:
        UsageError: if anything asked for cannot be.
    """
    suite = override(load_suite(suite_name), flags or Overrides())
    text = plan.read_corpus(suite)
    return plan.make_plan(suite, device=device_named(suite.device, present=not only_plan), select=select, text=text)


def device_named(name: str | None, *, present: bool = True) -> Device:
    """That device; without a name, CUDA where there is one, else the CPU.

    Args:
        name: `cpu`, `cuda` or None.
        present: whether the device must be here.

    Raises:
        UsageError: if CUDA is asked for and torch sees none.
    """
    import torch

    available = torch.cuda.is_available()
    if present and name == "cuda" and not available:
        build = "a CPU build" if torch.version.cuda is None else f"a CUDA {torch.version.cuda} build"
        raise UsageError(f"device 'cuda': torch {torch.__version__} ({build}) sees no CUDA device. Use --device cpu.")
    if name is None:
        return "cuda" if available else "cpu"
    return "cuda" if name == "cuda" else "cpu"


def new_folder(resolved: Plan, out: str | None = None) -> RunFolder:
    """A fresh run folder: `out`, or `runs/<suite>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written, or already holds something; nothing is changed then.
    """
    return create(out, resolved.suite.name)


def run(resolved: Plan, folder: RunFolder, *, command: list[str], progress: Lines | Live) -> Finished:
    """Measure a plan into a fresh folder (`new_folder` makes one) and render its report.

    Raises:
        IncompleteError: if it was interrupted; what was measured is kept.
    """
    refuse_ranks("modbench run")
    start = time.monotonic()
    where = environment.collect()
    machine = certificate.fingerprint(where, resolved.device, resolved.suite.threads)
    known = certificate.pooled(machine)
    where |= {"machine": machine, "certificate": known.as_dict() if known else None}
    folder.write_run(resolved, where, command, files.now())
    return _run(resolved, folder, progress, start, resumed=False)


def resume(run_folder: str, progress_of: Callable[[Plan, RunFolder], Lines | Live]) -> Finished:
    """Run what an interrupted run still lacks, and again what died on the way.

    Training goes on from its checkpoint, to the bit on a CPU.

    Args:
        run_folder: of the run.
        progress_of: makes the progress of what is left.

    Raises:
        UsageError: if the folder holds no readable run, or one whose times were taken on another machine.
        IncompleteError: if it was interrupted again.
    """
    refuse_ranks("modbench resume")
    start, stored = time.monotonic(), read(run_folder)
    if stored.command[1:2] == ["train"]:
        raise UsageError(
            f"{run_folder!r} is a run of `modbench train`: the command that began it goes on with it, given -o {run_folder}."
        )
    folder = RunFolder(stored.path)
    left = _left(stored)
    for place in (folder.units, folder.logs):  # a copy may have lost those that were empty
        place.mkdir(exist_ok=True)
    machine = certificate.fingerprint(environment.collect(), stored.plan.device, stored.plan.suite.threads)
    if any(unit.made_in in {"time", "energy", "compile"} for unit in stored.plan.units) and machine != (
        known := stored.environment.get("machine")
    ):
        raise UsageError(
            f"{run_folder!r} was begun on another machine ({known}, this is {machine}): times of two machines are no pairs. "
            "Resume it there, or start a new run here."
        )
    for unit in left:
        folder.record(unit).unlink(missing_ok=True)
    rest = stored.plan.model_copy(update={"units": left})
    for unit in stored.plan.units:  # one may have been killed between its record and the end of its checkpoint
        if unit not in left:
            Workspace(folder.path, unit.name).tidy()
    return _run(rest, folder, progress_of(rest, folder), start, resumed=True)


def refuse_ranks(what: str) -> None:
    """A run starts its own processes: several ranks would be several runs.

    Raises:
        UsageError: under torchrun.
    """
    if torchrun.from_environment().world > 1:
        raise UsageError(
            f"{what} under torchrun would be {torchrun.from_environment().world} runs. Ranks share `modbench train`."
        )


def _left(stored: StoredRun) -> tuple[UnitOfWork, ...]:
    """Units without a record, units whose process died, and runs that waited for a rate which a dead process was to find."""
    died = {record.unit.name for record in stored.records if not record.environment}  # its parent wrote that record
    again = {*stored.missing, *died}
    for unit in stored.plan.units:
        if unit.protocol.train is not None and unit.protocol.train.rate_from in again:
            again.add(unit.name)
    return tuple(unit for unit in stored.plan.units if unit.name in again)


def _run(resolved: Plan, folder: RunFolder, progress: Lines | Live, start: float, *, resumed: bool) -> Finished:
    try:
        with progress:
            runner.run(resolved, folder, progress, resumed=resumed)
        wall_s = time.monotonic() - start
        loaded = render.write(folder.path)
    except KeyboardInterrupt:
        raise IncompleteError(
            f"interrupted. What was measured is kept: `modbench resume {folder.path}` goes on, `modbench report {folder.path}` "
            "shows it."
        ) from None
    return Finished(folder.path, folder.path / render.PAGE, wall_s, loaded)


def report(run_folder: str, baseline: str | None = None) -> Finished:
    """Render the report of a stored run again. Loads no torch.

    Args:
        run_folder: of the run.
        baseline: arm that the others are held against; None: the suite's anchor.

    Raises:
        UsageError: if the folder holds no readable run, or has no such arm.
    """
    loaded = render.write(Path(run_folder), baseline)
    return Finished(Path(run_folder), Path(run_folder) / render.PAGE, None, loaded)
