"""Finds the jobs that a resumed run measures again, checks that it may go on, and prepares its folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from modbench.harness.core import masking
from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.model_specs import is_user_model
from modbench.harness.domain.case import Job
from modbench.harness.execution.launcher import is_remote_launcher
from modbench.harness.machine import certificate, environment
from modbench.harness.registry import catalogue
from modbench.harness.results import rule_decisions, user_files
from modbench.harness.results.record_files import read_record
from modbench.harness.results.rule_decisions import Decided
from modbench.harness.results.run_file import StoredRun
from modbench.harness.results.run_folder import RunFolder, read
from modbench.harness.results.workspace import Workspace

# Files that are named in a message.
MOST = 3


def without_old_decisions(stored: StoredRun, *, retry_failed: bool) -> StoredRun:
    """Let rules decide anew about groups of which jobs are measured again, unless what they decided stands."""
    again = {job.group for job in remaining(stored, retry_failed=retry_failed)} & stored.decisions.keys()
    old = [each for each in (stored.decisions[group] for group in again) if not _stands(each)]
    for decided in old:
        rule_decisions.file_of(stored.path, decided.group).unlink(missing_ok=True)
    return read(str(stored.path)) if old else stored


def _stands(decided: Decided) -> bool:
    return decided.found is not None and bool(catalogue.load("adaptive_rules", decided.rule).stands(decided.found))


def remaining(stored: StoredRun, *, retry_failed: bool) -> tuple[Job, ...]:
    """Jobs without a record, jobs whose process died, and training runs whose learning-rate search is among these.

    A user's model that kills its process would do so again: that job, which the shipped models survived, counts as failed.
    """
    died = {record.job.name for record in stored.records if record.died is not None and not record.died.again}
    again = {*stored.missing, *died, *(damaged.job for damaged in stored.damaged)}
    if retry_failed:
        again |= {r.job.name for r in stored.records if any(each.status == "failed" for each in r.outcomes)}
    for job in stored.plan.jobs:
        if job.protocol.train is not None and job.protocol.train.rate_from in again:
            again.add(job.name)
    return tuple(job for job in stored.plan.jobs if job.name in again)


def check_options(stored: StoredRun, given: Sequence[str] | None) -> None:
    """Check that the launcher's options are whole; None were given: those of the run.

    Raises:
        UsageError: if a value among them was masked.
    """
    if given is None and any(masking.MASK in option for option in stored.options):
        raise UsageError(
            f"{stored.path}: a value among the launcher's options was masked ({shown(' '.join(stored.options))}). Give the "
            "options again, behind --."
        )


def check_unchanged(stored: StoredRun, again: Collection[str], *, allowed: bool) -> None:
    """Check that a run is resumed where it began, with the files of the user's as they were when its results were made.

    Args:
        stored: the run.
        again: names of its units that are measured again.
        allowed: whether the files may have changed.

    Raises:
        UsageError: if not; the message names the files.
    """
    begun = stored.started_in if stored.started_in and os.path.isdir(stored.started_in) else ""  # noqa: PTH112  # any text
    here = Path(begun or Path.cwd())
    if here != Path.cwd() and any(
        is_user_model(s) for each in stored.plan.cases for s in (each.model, each.config.router)
    ):
        raise UsageError(
            f"{stored.path}: the run was started in {here}, where its models look for what they import. Resume it from there: "
            f"cd {shlex.quote(str(here))} && modbench resume {shlex.quote(str(stored.path.absolute()))}"
        )
    ran = dict(stored.code)
    for record in sorted(stored.records, key=lambda each: each.started):
        ran |= {} if record.job.name in again else record.code or {}
    now = {name: user_files.sha256_of(here / name) for name in sorted(ran)}
    found = [f"{shown(name, 100)}{'' if now[name] else ' (gone)'}" for name in now if now[name] != ran[name]]
    found += [shown(each.name, 100) for each in user_files.missing_sources(stored.included) if each.kind == "package"]
    if found and not allowed:
        more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
        raise UsageError(
            f"{stored.path}: {', '.join(found[:MOST])}{more} changed since results were made. Start a new run; or, to put "
            "numbers of two versions side by side, repeat with --allow-changed."
        )


def make_ready(stored: StoredRun, remaining: Sequence[Job]) -> None:
    """Check that the run may go on here, and remove what its remaining jobs left.

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
        and any(job.facts.timed for job in stored.plan.jobs)
        and machine != (known := stored.environment.get("machine"))
    ):
        raise UsageError(
            f"{str(stored.path)!r} was started on another machine ({known}; this is {machine}), and times of two machines cannot "
            "be compared. Resume it there, or start a new run here."
        )
    for damaged in stored.damaged:
        folder.set_aside(damaged)
    if remote:  # here a record is kept until its unit starts again
        known = {record.job.name for record in stored.records}
        for job in remaining:
            if job.name in known or not _came_meanwhile(folder, job):
                folder.record(job).unlink(missing_ok=True)
    # A worker may have been killed after it wrote its record and before it removed its checkpoint.
    left = {job.name for job in remaining}
    for job in stored.plan.jobs:
        if job.name not in left:
            Workspace(folder.path, job.name).tidy()


def _came_meanwhile(folder: RunFolder, job: Job) -> bool:
    """Whether a job that still runs wrote a job's record since the folder was read."""
    if not folder.record(job).exists():
        return False
    try:
        read_record(folder.record(job), job)
    except UsageError:
        return False
    return True
