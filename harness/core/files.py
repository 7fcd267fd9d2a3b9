"""Files that are written whole or not at all, and the time stamp they carry."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from pathlib import Path


def now() -> str:
    """UTC, ISO 8601, whole seconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, text: str) -> None:
    """Write a file that either exists whole or not at all, whatever is killed when."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def unfinished(checkpoint: Path) -> Path:
    """Where a checkpoint is written before it takes its place; a kill may leave it behind, and the next one overwrites it."""
    return checkpoint.with_suffix(".part")
