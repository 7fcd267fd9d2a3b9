"""`modbench.toml`: folders that a project includes. It counts where it lies, as a `conftest.py` does for pytest."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, in_short, shown, unknown
from modbench.harness.registry import discovery

NAME = "modbench.toml"
KEYS = ("plugins",)


def search() -> Path | None:
    """`modbench.toml` in the current folder, or in the nearest parent up to the root of the repository; None if there is none."""
    here = Path.cwd()
    inside: list[Path] = []
    for folder in (here, *here.parents):
        inside.append(folder)
        if (folder / ".git").exists():
            break
    else:
        inside = [here]  # in no repository: a file further up belongs to somebody else
    return next((folder / NAME for folder in inside if (folder / NAME).is_file()), None)


def folders(file: Path) -> list[Path]:
    """The folders that a project's file includes, absolute.

    Raises:
        UsageError: if it is not TOML, or a key or value is wrong.
    """
    try:
        body = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{file}: not TOML: {in_short(error)}.") from error
    for key in body:
        if key not in KEYS:
            raise UsageError(f"{file}: {unknown('key', key, KEYS)}")
    named = body.get("plugins", [])
    if not isinstance(named, list) or not all(isinstance(each, str) and each for each in named):
        raise UsageError(f'{file}: plugins = {shown(named)}: write a list of folders, such as plugins = ["bench"].')
    return [_plain(file.parent / each) for each in named]


def _plain(path: str | Path) -> Path:
    """An absolute path without `..`, so that a folder has one name; links stay as they are."""
    return Path(os.path.normpath(Path(path).absolute()))


def include(asked: Iterable[str]) -> None:
    """Include the folders that the user names now (`--plugin`), then those of the environment, then those of the project.

    Raises:
        UsageError: if one of them cannot be used.
    """
    for folder in discovery.included_folders():
        discovery.check_included(folder, discovery.VARIABLE)
    discovery.include(map(_plain, asked), first=True)
    file = search()
    if file is not None:
        discovery.include(folders(file), by=f"{file}: plugins")
