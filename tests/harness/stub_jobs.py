"""Jobs of milliseconds for the fault table: each value follows from the job's name, and each execution is noted in a journal.

The journal and the switches lie beside the run folder, where no fault of the run folder reaches them.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.records import Outcome
from modbench.harness.results import workspace
from modbench.harness.results.measured_or_missing import measured

STEPS = 5


def value(made_in: str, case_id: str) -> float:
    """What a stub unit measures of a case."""
    start = zlib.crc32(f"{made_in} {case_id}".encode())
    return float(stepped(start, 0, STEPS) if made_in == "stub_steps" else start)


def stepped(state: int, first: int, last: int) -> int:
    for step in range(first, last):
        state = zlib.crc32(f"{state} {step}".encode())
    return state


def note(beside: Path, event: str, unit: str, *, had: bool = False) -> None:
    """Add a line to the journal; one write, so that lines of several processes do not mix."""
    line = f"{event} {unit} {os.getpid()} {'again' if had else 'first'}\n"
    handle = os.open(beside / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode())
    os.close(handle)


def run(job: Job, metrics: list[AnyMetric]) -> Iterator[Outcome]:
    """Take some milliseconds; a switch lets a job hang."""
    assert workspace.HERE is not None
    beside = workspace.HERE.run.parent
    note(beside, "start", job.name, had=good(workspace.HERE.record_of(job.name)))
    if (beside / f"hang-{job.name}").exists():
        time.sleep(600)
    for case in job.comparison.variants:
        if job.made_in == "stub_steps":
            _with_checkpoints(case, workspace.HERE)
        else:
            time.sleep(0.005)
        for metric in metrics:
            yield measured(case, metric, {"value": [value(job.made_in, case.id)]})
    note(beside, "done", job.name)


def good(record: Path) -> bool:
    """Whether the record is whole and every outcome has a value."""
    try:
        body = json.loads(record.read_bytes())
        return not body["died"] and all(outcome["status"] == "ok" for outcome in body["outcomes"])
    except (OSError, ValueError, LookupError):
        return False


def _with_checkpoints(case: Case, here: workspace.Workspace) -> None:
    """Go on from the last checkpoint, as training does; a wrong state would give a wrong value."""
    at, state = 0, zlib.crc32(f"stub_steps {case.id}".encode())
    if here.checkpoint.exists():
        at, state = json.loads(here.checkpoint.read_text())
    for step in range(at, STEPS):
        time.sleep(0.003)
        state = stepped(state, step, step + 1)
        for _ in range(5):
            here.checkpoint.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another unit removed the empty folder: as `checkpoint.save`
                write_atomically(here.checkpoint, json.dumps([step + 1, state]))
                break
    assert float(state) == value("stub_steps", case.id)
