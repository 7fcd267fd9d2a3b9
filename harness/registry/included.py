"""The user's folders that are searched for additions, in the order in which they are searched.

They are held in the environment variable `MODBENCH_INCLUDE`, joined as in `PATH`: every process that this one starts (workers,
the fork server, jobs of a cluster) inherits it, and so finds what this one finds. `--include`, `modbench.toml` and the record
of a run add to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from modbench.harness.core.errors import UsageError, near_path, shown

VARIABLE = "MODBENCH_INCLUDE"


def named() -> str:
    """The user's folders as the variable has them."""
    return os.environ.get(VARIABLE, "")


def folders() -> tuple[Path, ...]:
    """The user's folders, absolute, in the order in which they are searched."""
    return tuple(Path(folder).absolute() for folder in named().split(os.pathsep) if folder)


def include(asked: Iterable[str | Path], rooms: Iterable[str], *, first: bool = False, by: str = "--include") -> None:
    """Search these folders as well, in this process and in those that it starts from now on.

    Args:
        asked: the folders; relative ones lie in the current folder.
        rooms: names of the folders that one of them may hold.
        first: before those that are searched already; else after them.
        by: where they are named, for messages.

    Raises:
        UsageError: if one is no folder, or holds nothing that is looked for.
    """
    found = [Path(folder).absolute() for folder in asked]
    for folder in found:
        check(folder, rooms, by)
    every = [*found, *folders()] if first else [*folders(), *found]
    if every:
        os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys(every)))


def check(folder: Path, rooms: Iterable[str], by: str) -> None:
    """Check that a folder can hold additions.

    Raises:
        UsageError: if it is no folder, or holds none of the folders that are looked for.
    """
    if not folder.is_dir():
        raise UsageError(f"{by} {shown(str(folder), 200)}: there is no such folder.{near_path(folder, Path.is_dir)}")
    if os.pathsep in str(folder):
        raise UsageError(
            f"{by} {shown(str(folder), 200)}: a folder with {os.pathsep!r} in its path cannot be included."
        )
    if not any((folder / room).is_dir() for room in rooms):
        raise UsageError(
            f"{by} {shown(str(folder), 200)} holds no folder that is looked for: {', '.join(rooms)}. "
            f"A router, for instance, is {folder.name}/routers/NAME.py."
        )
