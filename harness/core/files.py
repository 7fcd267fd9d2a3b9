"""Files that are written whole or not at all, and the time stamp in them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modbench.harness.core.inside import new_file
from modbench.harness.core.printable import escaped_json


def now() -> str:
    """The time now: UTC, ISO 8601, whole seconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, content: str | bytes, *, sync: bool = True, mode: int = 0o644) -> None:
    """Write a file that either exists whole or not at all, whatever is killed when.

    Args:
        path: the file to write or replace.
        content: bytes, or text that is written in UTF-8; control characters in JSON are escaped.
        sync: whether to wait until the content is on the disk, so that a power cut cannot leave a torn file.
        mode: the file's permissions.
    """
    if isinstance(content, str) and path.suffix == ".json":
        content = escaped_json(content)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    with replacing(path, Path(temporary), sync=sync) as file:
        file.write(content.encode() if isinstance(content, str) else content)
        Path(temporary).chmod(mode)


@contextlib.contextmanager
def replacing(path: Path, temporary: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Write into a temporary file, which takes the place of `path` at the end, or is removed if anything is raised.

    Args:
        path: the file to write or replace.
        temporary: where to write meanwhile, in the same folder. A killed process leaves it behind.
        sync: whether to wait until the content is on the disk.
    """
    try:
        with os.fdopen(new_file(temporary), "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unfinished(checkpoint: Path) -> Path:
    """Where a checkpoint is written before it is renamed; a kill may leave it behind, and the next one overwrites it."""
    return checkpoint.with_suffix(".part")
