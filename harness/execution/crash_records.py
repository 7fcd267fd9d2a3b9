"""Records of units whose process died before it wrote one: its parent writes the record, with the kind of failure."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from modbench.harness.core.files import now
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import Death, Gap, Outcome, Record
from modbench.harness.process.graceful_stop import DeviceLost, last_words
from modbench.harness.results.outcomes import missing
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder


def keep_log(log: Path) -> None:
    """Rename the log, since a second try writes a log of its own."""
    if log.exists():
        log.replace(log.with_suffix(".died.log"))


def write_failure(unit: UnitOfWork, folder: RunFolder, died: Death) -> None:
    """Write the record for a process that died before it could."""
    lost = tuple(_lost(unit, unit, died, folder.record(unit)))
    folder.write_record(Record(unit=unit, started=now(), wall_s=0.0, died=died, outcomes=lost))


def add_failed(planned: UnitOfWork, folder: RunFolder, died: Death) -> None:
    """Write the planned unit's record: what the second try measured, and the user's arms as failed."""
    file = folder.record(planned)
    record = read_record(file, planned.shipped)
    outcomes = (*record.outcomes, *_lost(planned, record.unit, died, file, only_own=True))
    again = died.model_copy(update={"again": True})
    # If the second try died too, its record says so and nothing was measured.
    update = {"unit": planned, "outcomes": outcomes, "died": record.died or again}
    folder.write_record(record.model_copy(update=update))


def _lost(
    unit: UnitOfWork, logged: UnitOfWork, died: Death, file: Path, *, only_own: bool = False
) -> Iterator[Outcome]:
    """Failed outcomes for every case and metric of a unit whose process died. Logs lie in folders as records do."""
    part = "" if file.parent.name == "units" else f"{file.parent.name}/"
    log = f"logs/{part}{logged.name}.died.log"
    there = (
        (file.parent.parent if part else file.parent).parent / log
    ).exists()  # a job may have ended before it wrote one
    reason = f"{died.reason}; see {log}" if there else died.reason
    gap = Gap(status="failed", kind=died.kind, reason=reason)
    for case in unit.comparison.arms:
        if only_own and not case.facts.runs_user_code:
            continue
        for made in unit.facts.makes:
            yield missing(case, made, gap)


def death(exitcode: int | None, *, timed_out: bool, log: Path | None = None, limit: str = "its time limit") -> Death:
    """Describe how a process without a record ended, with what its log says of a lost device."""
    if timed_out or exitcode == -signal.SIGALRM:  # its own alarm, should this process have been stopped
        return Death(kind="timeout", reason=f"the process exceeded {limit} and was ended")
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        if -exitcode == signal.SIGKILL:
            return Death(
                kind="oom", reason=f"the process was killed ({name}): the machine most likely ran out of memory"
            )
        return Death(kind="crash", reason=f"the process died of {name}")
    if exitcode == DeviceLost.exit_code:
        said = last_words(log.read_text(encoding="utf-8", errors="replace")) if log and log.exists() else ""
        return Death(kind="crash", reason=f"the GPU could not be used any more ({said or 'it did not say why'})")
    return Death(kind="crash", reason=f"the process ended with exit code {exitcode} and left no record")
