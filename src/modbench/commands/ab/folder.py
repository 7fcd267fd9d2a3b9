"""The folder of a comparison: what was asked, its finished blocks and its plan, so that the same command goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.files import now, write_atomically
from modbench.harness.results import layout, lock
from modbench.harness.results.json_files import load
from modbench.harness.results.run_folder import FINISHED

# What was asked: the same request goes on in the same folder.
ASKED = "ab.json"
# The plan of its analyses.
KEPT = "plan.json"


@contextlib.contextmanager
def held(name: str, out: str | None, request: Mapping[str, Any]) -> Iterator[Path]:
    """Hold the folder of a comparison: the one named, or `runs/ab-<name>-<date>-<n>`.

    One that holds the same request is continued: the one named, or without a name the latest that was not finished. One without
    a block is removed at the end, unless a side fails: its log says more.

    Raises:
        UsageError: if the folder that was named holds something else, cannot be made, or is in use.
    """
    path = _found(name, out, request)
    with lock.hold(path):
        try:
            yield path
        except BaseException as error:
            if not isinstance(error, UsageError):
                for log in path.glob("*.log"):
                    log.unlink()
                if not blocks(path):
                    shutil.rmtree(path)
            raise


def block(path: Path, number: int) -> Path:
    """The file or folder of a block, which has this name once it is finished."""
    return path / f"block{number}"


def blocks(path: Path) -> int:
    """How many blocks are finished."""
    return len([*path.glob("block[0-9]*")])


def finish(path: Path) -> None:
    """Note that a comparison is finished: the same command begins a new one."""
    write_atomically(path / FINISHED, json.dumps({"ended": now()}))


def finished(path: Path) -> bool:
    """Whether a comparison is finished, so that nothing more is measured."""
    return (path / FINISHED).exists()


def _found(name: str, out: str | None, request: Mapping[str, Any]) -> Path:
    if out is not None:
        path = Path(out)
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return _made(path, request)
        if _request_in(path) == request:
            return path
        raise UsageError(
            f"--out {shown(out)} holds other files, another comparison, or one of other code. Name a new folder, or omit --out."
        )
    known = sorted(Path(layout.RUNS).glob(f"ab-{name}-*"), key=lambda each: each.stat().st_mtime, reverse=True)
    same = (path for path in known if not finished(path) and _request_in(path) == request)
    return next(same, None) or _made(layout.unused(f"ab-{name}"), request)


def _made(path: Path, request: Mapping[str, Any]) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / ASKED, json.dumps(request, indent=1))
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
    return path


def _request_in(path: Path) -> object:
    """The request that a folder holds; None if it holds none."""
    with contextlib.suppress(OSError, UsageError):
        return load(path / ASKED)
    return None
