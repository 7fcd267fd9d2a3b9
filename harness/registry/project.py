"""`modbench.toml`: folders that a project includes. It counts once the user agreed to it: it may lie in a stranger's folder.

Whoever downloads a folder and looks at it must not run its code. So the file is only data until the user names it once
(`--include modbench.toml`); then its path is remembered outside the project, in the user's state folder, with the hashes of the
file and of all that it includes (`consent.py`). What changed, or is new, needs the user's word again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, in_short, shown, unknown
from modbench.harness.core.files import state_folder, write_atomically
from modbench.harness.registry import consent, discovery

NAME = "modbench.toml"
KEYS = ("include",)


@dataclass(frozen=True)
class Project:
    """A project's file.

    Attributes:
        file: where it is.
        sha256: hash of its bytes.
        folders: what it includes, absolute.
    """

    file: Path
    sha256: str
    folders: tuple[Path, ...]

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by path of the file and of all that it includes."""
        return {str(self.file): self.sha256, **consent.digests(self.folders, self.file.parent)}

    def not_agreed(self) -> list[str] | None:
        """Files that are not as the user agreed to them; None if the user never did."""
        try:
            before = json.loads(_memory(self.file).read_bytes())["files"]
            return consent.changed(dict(before), self.files)
        except (OSError, RuntimeError, ValueError, TypeError, LookupError):
            return None

    def remember(self) -> None:
        """Remember that the user agreed. Without a home folder nothing is remembered."""
        try:
            place = _memory(self.file)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, json.dumps({"file": str(self.file), "files": self.files}), mode=0o600)
        except (OSError, RuntimeError):
            return


def _memory(file: Path) -> Path:
    return state_folder() / "projects" / f"{hashlib.sha256(str(file).encode()).hexdigest()}.json"


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


def read(file: Path) -> Project:
    """Read a project's file.

    Raises:
        UsageError: if it is not TOML, or a key or value is wrong.
    """
    file = _plain(file)
    try:
        content = file.read_bytes()
        body = tomllib.loads(content.decode())
    except OSError as error:
        raise UnreadableError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{file}: not TOML: {in_short(error)}.") from error
    for key in body:
        if key not in KEYS:
            raise UsageError(f"{file}: {unknown('key', key, KEYS)}")
    named = body.get("include", [])
    if not isinstance(named, list) or not all(isinstance(each, str) and each for each in named):
        raise UsageError(f'{file}: include = {shown(named)}: write a list of folders, such as include = ["bench"].')
    folders = tuple(_plain(file.parent / each) for each in named)
    return Project(file, hashlib.sha256(content).hexdigest(), folders)


def _plain(path: str | Path) -> Path:
    """An absolute path without `..`, so that a file has one name; links stay as they are."""
    return Path(os.path.normpath(Path(path).absolute()))


def include(asked: Iterable[str]) -> str | None:
    """Include what the user names now (`--include`), what the environment names, and what the project's file does.

    Args:
        asked: folders, or files such as `modbench.toml`, to which the user agrees by naming them.

    Returns:
        What to tell the user: why the project's file is not used; None if there is nothing to tell.

    Raises:
        UsageError: if something that is named, or that the user agreed to, cannot be used.
    """
    given: list[Path] = []
    for each in asked:
        if each.endswith(".toml"):
            project = read(Path(each))
            for folder in project.folders:
                discovery.check_included(folder, f"{project.file}: include")
            project.remember()
            given += project.folders
        else:
            given.append(_plain(each))
    for folder in discovery.included_folders():
        discovery.check_included(folder, discovery.VARIABLE)
    discovery.include(given, first=True)
    file = search()
    if file is None or _plain(file) in set(map(_plain, asked)):
        return None
    try:
        project = read(file)
    except UsageError as error:
        return f"{error} It is not used."
    rest = [folder for folder in project.folders if folder not in discovery.included_folders()]
    if not rest:
        return None
    changed = project.not_agreed()
    if changed == []:
        discovery.include(rest, by=f"{project.file}: include")
        return None
    unused, again = f"{shown(str(project.file), 200)} is not used:", f"--include {project.file}"
    if changed is None:
        return f"{unused} what it includes is code that would run. If you trust it, name it once: {again}"
    files = consent.in_words(changed, project.file.parent)
    return f"{unused} since you agreed to it, {files} changed. If you trust that: {again}"
