"""Files: written whole or not at all, and never through a link; and a user's own folders."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modbench.harness.core.errors import UsageError
from modbench.harness.core.plain_text import escaped_json

# What a file system without hard links says.
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
# How libraries written in Rust end their message where the system refused.
RUST = re.compile(r"\(os error (\d+)\)$")


def refuse_inside(run: Path, file: Path, *, asked: str, part: str | None = None) -> None:
    """Check that a file does not lie in a run folder, where it could take the place of what the run holds.

    Args:
        run: the run folder.
        file: what shall be written.
        asked: as the user named it, such as `--html x.html`.
        part: the part of the run folder that is for such files; None: there is none.

    Raises:
        UsageError: if it does.
    """
    inside = file.resolve()
    if run.resolve() in inside.parents and (part is None or (run / part).resolve() not in inside.parents):
        instead = "Name another file" if part is None else f"Name a file in {run / part}, or outside"
        raise UsageError(f"{asked} lies in a run folder, into which only the run and its report write. {instead}.")


def new_file(file: Path) -> int:
    """Descriptor of a new file for writing; one of that name is removed first, never emptied or followed."""
    file.unlink(missing_ok=True)
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)


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

    Raises:
        UsageError: if there is a device, a pipe or a folder.
    """
    if isinstance(content, str) and path.suffix == ".json":
        content = escaped_json(content)
    with naming(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    with replacing(path, Path(temporary), sync=sync) as file:
        file.write(content.encode() if isinstance(content, str) else content)
        Path(temporary).chmod(mode)


def write_once(path: Path, content: str) -> bool:
    """Write a file that nobody may have written before; of several processes one does. Returns whether this one did.

    A hard link appears whole or not at all, on network file systems too. One of these may make the link, lose its answer and be
    asked again: False then says no more than that the file is there.
    """
    body = escaped_json(content) if path.suffix == ".json" else content
    with naming(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            _link(Path(temporary), path, body)
        except FileExistsError:
            return False
        finally:
            Path(temporary).unlink(missing_ok=True)
    return True


def _link(temporary: Path, path: Path, body: str) -> None:
    """Give a file its name, if no file has it."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("x", encoding="utf-8") as file:
            file.write(body)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system name the file that was to be written, not a temporary one or none."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    except Exception as error:
        if isinstance(error.__context__, OSError):  # torch hides why its archive could not be written
            error.__context__.filename = str(path)
            raise error.__context__ from None
        if found := RUST.search(str(error)):  # safetensors and tokenizers have errors of their own
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextlib.contextmanager
def replacing(path: Path, temporary: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Write into a temporary file, which takes the place of `path` at the end, or is removed if anything is raised.

    An error of the system names `path`, even where the system or torch leaves the name out.

    Args:
        path: the file to write or replace.
        temporary: where to write meanwhile, in the same folder. A killed process leaves it behind.
        sync: whether to wait until the content is on the disk.

    Raises:
        UsageError: if there is a device, a pipe or a folder: root could replace /dev/null by a file.
    """
    with naming(path):
        try:
            _refuse_device(path)
            with os.fdopen(new_file(temporary), "wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the folder may be gone, or its disk read-only by now
                temporary.unlink(missing_ok=True)
            raise


def _refuse_device(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_symlink()):
        raise UsageError(f"{path} is no plain file, and is not replaced. Name another file.")


def unfinished(checkpoint: Path) -> Path:
    """Where a checkpoint is written before it is renamed; a kill may leave it behind, and the next one overwrites it."""
    return checkpoint.with_suffix(".part")


class NoHomeError(UsageError, RuntimeError):
    """The user has no home folder: no HOME, and no entry in the password file (as in many containers)."""


def cache_folder() -> Path:
    """`MODBENCH_CACHE`, else the system's folder for caches (on Linux `$XDG_CACHE_HOME/modbench` or `~/.cache/modbench`).

    Raises:
        NoHomeError: if the user has no home.
    """
    return _folder("MODBENCH_CACHE", "user_cache_path")


def state_folder() -> Path:
    """`MODBENCH_STATE`, else the system's folder for state (`$XDG_STATE_HOME/modbench` or `~/.local/state/modbench`).

    Raises:
        NoHomeError: if the user has no home.
    """
    return _folder("MODBENCH_STATE", "user_state_path")


def _folder(variable: str, standard: str) -> Path:
    named = os.environ.get(variable)
    if named:
        return Path(named)
    import platformdirs

    missing = NoHomeError(f"the user has no home folder: set {variable} to a folder that may be written.")
    try:
        found: Path = getattr(platformdirs, standard)("modbench", appauthor=False)
    except RuntimeError as error:  # platformdirs from 4.14 on
        raise missing from error
    if not found.is_absolute():  # earlier versions leave the ~ of a missing home there
        raise missing
    return found
