"""The folder of a paired comparison: one run folder for each launch, and the request, so that the same command can continue.

A block is finished when each of its launches has the record of every unit that it times; records are written whole or not at all.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.files import now, write_atomically
from modbench.harness.core.foreign import refuse_links
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.results import layout, lock, run_folder
from modbench.harness.results.json_files import load
from modbench.harness.results.run_folder import FINISHED, RunFolder
from modbench.harness.results.sealed_records import read_record

NAME = "paired.json"
# Beginning of the names of folders with the files of revisions.
COPIES = "modbench-paired-"


@contextlib.contextmanager
def revision_folder() -> Iterator[Path]:
    """A temporary folder for the files of revisions. One whose command was killed is removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{COPIES}*"):
        with contextlib.suppress(OSError, UsageError):
            found = lock.find(old)
            if found is not None and found.state == "dead":
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=COPIES) as name, lock.hold(Path(name)):
        yield Path(name)


def open_folder(suite: str, out: str | None, request: dict[str, Any]) -> Path:
    """The folder of a comparison: the one named, or `runs/paired-<suite>-<date>-<n>`.

    One that holds the same comparison is continued: the one named, or without a name the latest that was not finished.

    Raises:
        UsageError: if the folder that was named holds something else, a link out of it or a pipe, or cannot be made.
    """
    if out is not None:
        path = Path(out)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            if _stored_request(path) == request:
                refuse_links(path)
                return path
            what = "another comparison, or one of other code" if (path / NAME).is_file() else "other files"
            raise UsageError(f"--out {shown(out)} holds {what}. Name a new folder, or omit --out.")
        return _create(path, request)
    known = [path for path in Path(layout.RUNS).glob("paired-*") if path.name.rsplit("-", 2)[0] == f"paired-{suite}"]
    for path in sorted(known, key=lambda path: path.stat().st_mtime, reverse=True):
        if not (path / FINISHED).exists() and _stored_request(path) == request and _is_free(path):
            refuse_links(path)
            return path
    return _create(layout.unused(f"paired-{suite}"), request)


def _create(path: Path, request: dict[str, Any]) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
    write_atomically(path / NAME, json.dumps(request, indent=1))
    return path


def _stored_request(path: Path) -> object:
    """The request that a folder holds; None if it holds none."""
    try:
        return load(path / NAME) if (path / NAME).is_file() else None
    except UsageError:
        return None


def _is_free(path: Path) -> bool:
    """Whether no process works in a folder."""
    with contextlib.suppress(OSError, UsageError):
        found = lock.find(path)
        return found is None or found.state == "dead"
    return False


def timed_units(run: Path) -> dict[str, UnitOfWork]:
    """The units of a run folder that time calls, by name."""
    return {unit.name: unit for unit in run_folder.read(str(run)).plan.units if unit.facts.times}


def block(folder: Path, number: int, names: Sequence[str]) -> list[Path]:
    """The run folders of a block, which is counted from 0: one for each of its processes."""
    return [folder / f"block{number}-{name}" for name in names]


def finished(folder: Path, names: Sequence[str]) -> list[list[Path]]:
    """The blocks that are finished, up to the first that is not."""
    every = (block(folder, number, names) for number in itertools.count())
    return list(itertools.takewhile(is_finished, every))


def is_finished(block: Sequence[Path]) -> bool:
    """Whether each launch of a block has the record of all that it times, and none died."""
    try:
        return all(
            read_record(RunFolder(run).record(unit), unit).died is None
            for run in block
            for unit in timed_units(run).values()
        )
    except (OSError, UsageError):  # there is none, or it cannot be believed
        return False


def finish(path: Path) -> None:
    """Note that a comparison is finished."""
    write_atomically(path / FINISHED, json.dumps({"ended": now()}))
