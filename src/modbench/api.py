"""The Python API: the same as the commands, without printing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.harness.core import catalogue, files, torchrun
from modbench.harness.core.errors import IncompleteError, UsageError
from modbench.harness.execution import runner
from modbench.harness.machine import accelerators, certificate, environment
from modbench.harness.planning import plan
from modbench.harness.planning.efforts import EFFORTS
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
    """A run with its report.

    Attributes:
        folder: run folder.
        report: HTML file.
        wall_s: duration of the whole run in s; None if the report was rendered again.
        loaded: records and tables.
    """

    folder: Path
    report: Path
    wall_s: float | None
    loaded: Loaded


def make_plan(
    suite_name: str, flags: Overrides | None = None, select: str | None = None, *, only_plan: bool = False
) -> Plan:
    """Resolve a suite into a plan.

    Args:
        suite_name: name of a shipped suite, or path of a TOML file.
        flags: values that override the suite's.
        select: `-k` expression over case ids.
        only_plan: the plan will not be run here, so a GPU suite may be planned on a machine without a GPU.

    Raises:
        UsageError: if the suite, a flag or the selection is invalid.
    """
    suite = override(load_suite(suite_name), flags or Overrides())
    text = plan.read_corpus(suite)
    return plan.make_plan(suite, device=device_named(suite.device, present=not only_plan), select=select, text=text)


def device_named(name: str | None, *, present: bool = True) -> Device:
    """The named device; without a name, CUDA if there is a GPU, else the CPU.

    Args:
        name: `cpu`, `cuda` or None.
        present: whether the device must exist on this machine.

    Raises:
        UsageError: if CUDA is named and torch sees no GPU.
    """
    import torch

    available = torch.cuda.is_available()
    if present and name == "cuda" and not available:
        raise UsageError(
            f"device 'cuda': torch {torch.__version__} ({accelerators.build()}) sees no CUDA device. Use --device cpu."
        )
    if name is None:
        return "cuda" if available else "cpu"
    return "cuda" if name == "cuda" else "cpu"


def new_folder(resolved: Plan, out: str | None = None) -> RunFolder:
    """Create a run folder: `out`, or `runs/<suite>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written or is not empty; it is left unchanged then.
    """
    return create(out, resolved.suite.name)


def run(
    resolved: Plan, folder: RunFolder, *, command: list[str], progress: Lines | Live, launcher: str = "local"
) -> Finished:
    """Measure a plan into a new folder (see `new_folder`) and render its report.

    Args:
        resolved: the plan.
        folder: takes the records.
        command: the command line, for the record.
        progress: shows which units have started and ended.
        launcher: name of the launcher that starts units.

    Raises:
        IncompleteError: if it was interrupted; finished units are kept.
        UsageError: under torchrun.
    """
    _refuse_ranks("modbench run")
    start = time.monotonic()
    where = environment.collect()
    machine = certificate.fingerprint(where, resolved.device, resolved.suite.threads)
    known = certificate.pooled(machine, EFFORTS["standard"][0])
    where |= {"machine": machine, "certificate": known.as_dict() if known else None}
    folder.write_run(resolved, where, command, files.now(), launcher)
    return _run(resolved, folder, progress, start, launcher=launcher)


def resume(run_folder: str, progress_of: Callable[[Plan, RunFolder], Lines | Live]) -> Finished:
    """Run the units that an interrupted run lacks, and those whose process died.

    Training continues from its checkpoint; on a CPU the result is bit-identical to an uninterrupted run.

    Args:
        run_folder: folder of the interrupted run.
        progress_of: makes the progress display for the remaining units.

    Raises:
        UsageError: if the folder holds no readable run, one with times of another machine, or one of `modbench train`.
        IncompleteError: if it was interrupted again.
    """
    _refuse_ranks("modbench resume")
    start, stored = time.monotonic(), read(run_folder)
    if stored.command[1:2] == ["train"]:
        raise UsageError(
            f"{run_folder!r} is a run of `modbench train`: to continue it, repeat its command with -o {run_folder}."
        )
    folder = RunFolder(stored.path)
    stored = _without_empty_decisions(stored, folder)
    remaining = _remaining(stored)
    for place in (folder.units, folder.logs):  # a copied folder may lack the empty ones
        place.mkdir(exist_ok=True)
    machine = certificate.fingerprint(environment.collect(), stored.plan.device, stored.plan.suite.threads)
    if any(catalogue.passes()[unit.made_in].timed for unit in stored.plan.units) and machine != (
        known := stored.environment.get("machine")
    ):
        raise UsageError(
            f"{run_folder!r} was started on another machine ({known}; this is {machine}), and times of two machines cannot "
            "be compared. Resume it there, or start a new run here."
        )
    for unit in remaining:
        folder.record(unit).unlink(missing_ok=True)
    rest, whole = (
        stored.plan.model_copy(update={"units": (*units, *stored.undecided)})
        for units in (remaining, stored.plan.units)
    )
    # A worker may have been killed after it wrote its record and before it removed its checkpoint.
    for unit in stored.plan.units:
        if unit not in remaining:
            Workspace(folder.path, unit.name).tidy()
    return _run(rest, folder, progress_of(rest, folder), start, launcher=stored.launcher, whole=whole)


def _refuse_ranks(command: str) -> None:
    """Refuse torchrun: a run starts its own processes, so every rank would start a run of its own."""
    world = torchrun.from_environment().world
    if world > 1:
        raise UsageError(
            f"{command} under torchrun would start {world} runs. Start it without torchrun; only `modbench train` uses ranks."
        )


def _without_empty_decisions(stored: StoredRun, folder: RunFolder) -> StoredRun:
    """Let pilots that left no times decide anew if their launches run again; a number that was computed stands."""
    again = {unit.series for unit in _remaining(stored)}
    empty = [series for series, decided in stored.decisions.items() if decided.asked is None and series in again]
    for series in empty:
        folder.forget_decision(series)
    return read(str(stored.path)) if empty else stored


def _remaining(stored: StoredRun) -> tuple[UnitOfWork, ...]:
    """Units without a record, units whose process died, and training runs whose learning-rate search is among these."""
    died = {record.unit.name for record in stored.records if record.died is not None and not record.died.again}
    again = {*stored.missing, *died}
    for unit in stored.plan.units:
        if unit.protocol.train is not None and unit.protocol.train.rate_from in again:
            again.add(unit.name)
    return tuple(unit for unit in stored.plan.units if unit.name in again)


def _run(
    resolved: Plan,
    folder: RunFolder,
    progress: Lines | Live,
    start: float,
    *,
    launcher: str,
    whole: Plan | None = None,
) -> Finished:
    try:
        with progress:
            runner.run(resolved, folder, progress, launcher=launcher, whole=whole)
        wall_s = time.monotonic() - start
        loaded = render.write(folder.path)
    except KeyboardInterrupt:
        raise IncompleteError(
            f"interrupted. Finished units are kept: `modbench resume {folder.path}` continues, "
            f"`modbench report {folder.path}` shows them."
        ) from None
    return Finished(folder.path, folder.path / render.PAGE, wall_s, loaded)


def report(run_folder: str, baseline: str | None = None) -> Finished:
    """Render the report of a stored run again. Does not import torch.

    Args:
        run_folder: folder of the run.
        baseline: arm that the others are compared with; None: the suite's anchor.

    Raises:
        UsageError: if the folder holds no readable run, or has no such arm.
    """
    loaded = render.write(Path(run_folder), baseline)
    return Finished(Path(run_folder), Path(run_folder) / render.PAGE, None, loaded)
