"""What a run folder from anybody may hold: names of plain files, no links out of it, and cells that no spreadsheet computes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from modbench.harness.core.errors import UsageError
from modbench.harness.core.printable import escaped, is_printable

# A file system's limit is 255 bytes; endings such as `.died.log` and those of unfinished files take some of them.
MOST_NAME_BYTES = 230
# What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@")


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


def refuse_links(folder: Path) -> None:
    """Check that all that lies in a folder are files and folders of its own. What vanishes meanwhile is passed over.

    A link that stays inside is allowed: loggers of training runs make such links. The folder itself may be reached through one.

    Raises:
        UsageError: if a link leads out of the folder, or a pipe or device, which may never answer, stands in the place of a file.
    """
    root, waiting = os.path.realpath(folder), [str(folder)]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if not os.path.realpath(entry.path).startswith(root + os.sep):
                        said = "a symbolic link out of the run folder: nothing outside is read or written"
                        raise UsageError(f"{entry.path} is {said}. Remove it, or put a copy in its place.")
                elif entry.is_dir():
                    waiting.append(entry.path)
                elif not entry.is_file() and os.path.lexists(entry.path):
                    raise UsageError(f"{entry.path} is a pipe or a device: a run folder holds files. Remove it.")


def cell(value: object) -> object:
    """A value as a cell of a CSV file: text on one line, with an apostrophe before what a spreadsheet would compute."""
    if not isinstance(value, str):
        return value
    text = escaped(value, lines=False)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
