"""Finds the units that a resumed run measures again, and prepares its folder."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.execution.launching import is_remote_launcher
from modbench.harness.machine import certificate, environment
from modbench.harness.registry import catalogue
from modbench.harness.results import decisions
from modbench.harness.results.decisions import Decided
from modbench.harness.results.run_file import StoredRun
from modbench.harness.results.run_folder import RunFolder, read
from modbench.harness.results.sealed_records import read_record
from modbench.harness.results.workspace import Workspace


def without_old_decisions(stored: StoredRun, *, retry_failed: bool) -> StoredRun:
    """Let rules decide anew about groups of which units are measured again, unless what they decided stands."""
    again = {unit.group for unit in remaining(stored, retry_failed=retry_failed)} & stored.decisions.keys()
    old = [each for each in (stored.decisions[group] for group in again) if not _stands(each)]
    for decided in old:
        decisions.file_of(stored.path, decided.group).unlink(missing_ok=True)
    return read(str(stored.path)) if old else stored


def _stands(decided: Decided) -> bool:
    return decided.found is not None and bool(catalogue.load("rules", decided.rule).stands(decided.found))


def remaining(stored: StoredRun, *, retry_failed: bool) -> tuple[UnitOfWork, ...]:
    """Units without a record, units whose process died, and training runs whose learning-rate search is among these.

    A user's model that kills its process would do so again: that unit, which the shipped models survived, counts as failed.
    """
    died = {record.unit.name for record in stored.records if record.died is not None and not record.died.again}
    again = {*stored.missing, *died, *(damaged.unit for damaged in stored.damaged)}
    if retry_failed:
        again |= {r.unit.name for r in stored.records if any(each.status == "failed" for each in r.outcomes)}
    for unit in stored.plan.units:
        if unit.protocol.train is not None and unit.protocol.train.rate_from in again:
            again.add(unit.name)
    return tuple(unit for unit in stored.plan.units if unit.name in again)


def make_ready(stored: StoredRun, remaining: Sequence[UnitOfWork]) -> None:
    """Check that the run may go on here, and remove what its remaining units left.

    Raises:
        UsageError: if it has times of another machine.
    """
    folder = RunFolder(stored.path)
    folder.make()  # a copied folder may lack the empty ones
    # Elsewhere the machines that measure are not this one; their records name them.
    remote = is_remote_launcher(stored.launcher)
    machine = certificate.fingerprint(environment.collect(), stored.plan.device, stored.plan.suite.threads)
    if (
        not remote
        and any(unit.facts.timed for unit in stored.plan.units)
        and machine != (known := stored.environment.get("machine"))
    ):
        raise UsageError(
            f"{str(stored.path)!r} was started on another machine ({known}; this is {machine}), and times of two machines cannot "
            "be compared. Resume it there, or start a new run here."
        )
    for damaged in stored.damaged:
        folder.set_aside(damaged)
    if remote:  # here a record is kept until its unit starts again
        known = {record.unit.name for record in stored.records}
        for unit in remaining:
            if unit.name in known or not _came_meanwhile(folder, unit):
                folder.record(unit).unlink(missing_ok=True)
    # A worker may have been killed after it wrote its record and before it removed its checkpoint.
    left = {unit.name for unit in remaining}
    for unit in stored.plan.units:
        if unit.name not in left:
            Workspace(folder.path, unit.name).tidy()


def _came_meanwhile(folder: RunFolder, unit: UnitOfWork) -> bool:
    """Whether a job that still runs wrote a unit's record since the folder was read."""
    if not folder.record(unit).exists():
        return False
    try:
        read_record(folder.record(unit), unit)
    except UsageError:
        return False
    return True
