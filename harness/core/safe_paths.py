"""What lies in a run folder may come from a stranger: nothing outside it is read or written through a link in it.

The folder itself may be reached through a link. A folder that somebody else changes while a command runs is not covered.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TextIO

from modbench.harness.core.errors import UsageError
from modbench.harness.core.printable import is_printable

# A file system's limit is 255 bytes; endings such as `.died.log` and those of unfinished files take some of them.
MOST_NAME_BYTES = 230
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def refuse_links(folder: Path) -> None:
    """Check that everything in a folder is a file or folder of its own.

    A link that stays inside is allowed: loggers of training runs make such links. What vanishes meanwhile is passed over: units
    that run rename and remove files.

    Raises:
        UsageError: if a link leads out of the folder, or a pipe or device stands in the place of a file.
    """
    root, waiting = os.path.realpath(folder), [str(folder)]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    _refuse_outside(entry.path, root)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    _refuse_kind(entry)


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


def _refuse_kind(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(FileNotFoundError):
        kind = KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), "no file")
        raise UsageError(f"{entry.path} is {kind}: a run folder holds files. Remove it.")


def _refuse_outside(link: str, root: str) -> None:
    if not os.path.realpath(link).startswith(root + os.sep):
        raise UsageError(
            f"{link} is a symbolic link out of the run folder: nothing outside is read or written. Remove it, or put a copy "
            "in its place."
        )


def new_text(file: Path) -> TextIO:
    """Open a text file that is new, in the place of whatever has its name: what that is linked to stays as it is."""
    return os.fdopen(new_file(file), "w", encoding="utf-8")


def new_file(file: Path) -> int:
    """Descriptor of a new file for writing; one of that name is removed first, never emptied or followed."""
    file.unlink(missing_ok=True)
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)


def read_plain(file: Path, most: int | None = None) -> bytes:
    """The content of a file that is one: no link is followed, and no pipe or device waited for.

    Args:
        file: the file.
        most: bytes that it may have; None: any number.

    Raises:
        FileNotFoundError: if there is none.
        UsageError: if something else has its name, or it is larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        number = os.open(file, flags)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link; a socket
            raise UsageError(f"{file}: no plain file, which no modbench makes. Remove it.") from error
        raise
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        os.close(number)
        raise UsageError(f"{file}: no plain file, which no modbench makes. Remove it.")
    with os.fdopen(number, "rb") as opened:
        if most is not None and found.st_size > most:
            raise UsageError(f"{file}: larger than {most:,} bytes, which modbench never writes. Remove it.")
        return opened.read()


def problem_of_name(name: str) -> str | None:
    """Why a name is not that of a plain file, in words; None if it is one."""
    if not name:
        return "is empty"
    if name.startswith("."):
        return "begins with a dot"
    if "/" in name or "\\" in name:
        return "holds a slash"
    if not is_printable(name):
        return "holds control characters"
    if len(name.encode(errors="surrogatepass")) > MOST_NAME_BYTES:
        return f"is longer than {MOST_NAME_BYTES} bytes"
    return None
