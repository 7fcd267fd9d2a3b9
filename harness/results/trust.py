"""Whether the code and texts that a run names may be run and read again: a run folder may come from a stranger.

A user who begins a run is remembered outside the folder (`core/files.py`), with the hashes of the files that it uses.
These files, unchanged, may be used again, and so may what they import, as the units of the run ran it. Any other needs the user's
word. So does a file that changed: results would mix two versions.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from modbench.harness.core import printable
from modbench.harness.core.errors import UnreadableError, UsageError, shown
from modbench.harness.core.files import read_plain, state_folder, write_atomically, write_once
from modbench.harness.process import graceful_stop
from modbench.harness.registry import consent, discovery, user_code
from modbench.harness.results import user_files
from modbench.harness.results.user_files import UserFile

if TYPE_CHECKING:
    from modbench.harness.domain.case import UnitOfWork
    from modbench.harness.results.run_file import StoredRun

# In the run folder: SHA-256 by path of the user's Python files, as the run or its last resumption began with them. A worker runs
# these and no others. It says nothing of trust: whoever sends a folder can write it.
AGREED = "agreed.json"
# In the run folder: a file for each that these import, written by the first worker that ran it. Later ones run no other version.
RAN = "code"
TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class UntrustedFile:
    """A file that this user has not agreed to.

    Attributes:
        file: the file as it is now.
        changed: whether it differs from what the run began with, as far as that is known.
        known: whether anything says what the run began with.
    """

    file: UserFile
    changed: bool
    known: bool

    def in_words(self) -> str:
        """One line: what it is, its path, its size and hash, and whether it changed."""
        file = self.file
        where = {
            "fetched": "fetched over the network",
            "options": "starts the units",
            "sent": "gets the run's numbers",
        }.get(file.what, file.path or "no file")
        content = {"folder": "a folder", "missing": "not there"}.get(
            file.what, f"{file.size:,} bytes, sha256 {file.sha256}" if file.size is not None else ""
        )
        state = (
            "CHANGED since the run began" if self.changed else "as run.json says" if self.known else "not in run.json"
        )
        return ", ".join(part for part in (f"{file.kind} {file.name}: {where}", content, state) if part)


def begin(folder: Path, units: Sequence[UnitOfWork], launcher: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Remember that this user begins a run; returns what run.json says of it: `token`, `own_files` and `included`."""
    token, files = uuid4().hex, user_files.of(units, launcher, options)
    _remember(token, files)
    _tell_workers(folder, files)
    return {
        "token": token,
        "own_files": [file.model_dump() for file in files],
        "included": [each.model_dump() for each in user_files.sources()],
    }


def _tell_workers(folder: Path, files: Sequence[UserFile]) -> None:
    code = {"model", "router", "addition", "import"}
    hashes = {f.path: f.sha256 for f in files if f.kind in code and f.path and f.sha256}
    if hashes or (folder / AGREED).exists():
        write_atomically(folder / AGREED, json.dumps(hashes, indent=1))
    for file in (folder / RAN).glob("*.json"):  # they are among these now, or no longer there
        file.unlink(missing_ok=True)


def first(folder: Path, path: str, sha256: str) -> str:
    """The version of a file, which the run did not begin with, that the run's workers run: what the first of them found.

    Raises:
        UsageError: if what the first one left is damaged.
    """
    noted = folder / RAN / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"
    with graceful_stop.writing():
        noted.parent.mkdir(exist_ok=True)
        if not noted.exists() and write_once(noted, json.dumps({path: sha256})):
            return sha256
    return _hashes(noted).get(path, sha256)


def expected(folder: Path) -> dict[str, str]:
    """The hashes by path of the user's Python files that a worker may run; empty where none were written.

    Raises:
        UsageError: if the file is damaged.
    """
    return _hashes(folder / AGREED)


def _hashes(file: Path) -> dict[str, str]:
    try:
        body = json.loads(read_plain(file))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UnreadableError(f"{file}: not JSON. `modbench resume` writes it anew.") from error
    if not isinstance(body, dict) or not all(isinstance(each, str) for each in body.values()):
        raise UnreadableError(f"{file}: damaged: hashes by path are expected. `modbench resume` writes it anew.")
    return body


def _remember(token: str, files: Sequence[UserFile]) -> None:
    """Remember that this user agreed to these files of a run, and to the folders that are included now.

    Without a home folder nothing is remembered: resuming asks.
    """
    folders = {str(folder): consent.digests([folder]) for folder in discovery.included_folders()}
    if not (files or folders) or TOKEN.fullmatch(token) is None:
        return
    try:
        place = _place(token)
        place.parent.mkdir(parents=True, exist_ok=True)
        agreed = [(*file.key, file.identity) for file in files]
        write_atomically(place, json.dumps({"files": agreed, "included": folders}, indent=1), mode=0o600)
    except (OSError, RuntimeError):
        return


def _place(token: str) -> Path:
    return state_folder() / "runs" / f"{token}.json"


def include_again(token: str | None, *, changed: bool = False) -> None:
    """Include the folders that this user began a run with, in this process and in those that it starts.

    Args:
        token: the run's token in run.json.
        changed: also folders whose files changed since.
    """
    since = changed_since(token)
    user_files.include_again(folder for folder, files in since.items() if changed or not files)


def changed_since(token: str | None) -> dict[str, list[str]]:
    """The folders that this user began a run with, and what is new or changed in each since; empty for a run of somebody else."""
    if token is None or TOKEN.fullmatch(token) is None:  # it becomes a path
        return {}
    try:
        folders = dict(json.loads(_place(token).read_bytes())["included"])
        return {
            folder: consent.changed(dict(before), consent.digests([Path(folder)])) for folder, before in folders.items()
        }
    except (OSError, RuntimeError, ValueError, TypeError, LookupError):
        return {}


def _agreed(token: str | None) -> dict[tuple[str, str], str | None]:
    """The agreements of this user, by key; empty for a run of somebody else."""
    if token is None or TOKEN.fullmatch(token) is None:  # it becomes a path
        return {}
    try:
        body = json.loads(_place(token).read_bytes())
        return {(kind, name): identity for kind, name, identity in body["files"]}
    except (OSError, RuntimeError, ValueError, TypeError, LookupError):
        return {}


def untrusted(files: Sequence[UserFile], told: Sequence[UserFile], token: str | None) -> list[UntrustedFile]:
    """The files that the user must agree to.

    Args:
        files: the files as they are.
        told: as run.json says they were.
        token: the run's token in run.json.

    Raises:
        UsageError: if one is not there.
    """
    agreed, said = _agreed(token), {file.key: file.identity for file in told}
    if agreed:  # whoever began the run ran these
        agreed = {key: identity for key, identity in said.items() if key[0] == "import"} | agreed
    for file in files:
        if file.what == "missing" and file.kind != "import":  # what is imported may be imported no longer
            began = next((each.path for each in told if each.key == file.key), None)
            there = f" The run began with {began}: resume it from the folder in which it began." if began else ""
            raise UnreadableError(f"{file.kind} {shown(file.name)}: {file.path or 'its module'} cannot be read.{there}")
    for file in told:
        if file.kind == "addition" and file.key not in {each.key for each in files}:
            raise UsageError(
                f"{file.name}: the run began with {shown(file.path, 200)}, which is not included now: its folder changed, or is "
                "gone. If you trust it as it is, include it with --include, or install its package."
            )
    found = []
    for file in files:
        before = agreed.get(file.key, said.get(file.key))
        if file.key not in agreed or agreed[file.key] != file.identity:
            found.append(
                UntrustedFile(file, changed=before is not None and before != file.identity, known=before is not None)
            )
    return found


def _same_folder(stored: StoredRun) -> None:
    """Refuse to resume a run of this user's models elsewhere than it was started: their imports are looked for there.

    What a stranger's folder names is no place to go to; a project that was moved is no longer there.
    """
    begun, here = stored.started_in, Path.cwd()
    models = any(kind == "model" for kind, _ in _agreed(stored.token))
    if begun is None or not models or here == Path(begun) or not _is_folder(begun):
        return
    raise UsageError(
        f"{stored.path}: the run was started in {begun}, where its models look for what they import. Resume it from there: "
        f"cd {shlex.quote(begun)} && modbench resume {shlex.quote(str(stored.path.absolute()))}"
    )


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def _ran(stored: StoredRun) -> dict[str, str]:
    """The code that the run's workers ran or may run, by name: those that left a record, and those that did not get so far."""
    here, found = Path.cwd(), dict[str, str]()
    for record in sorted(stored.records, key=lambda each: each.started):
        found |= record.code or {}
    for file in (stored.path / AGREED, *sorted((stored.path / RAN).glob("*.json"))):
        found |= {user_code.name_of(path, here): sha256 for path, sha256 in _hashes(file).items()}
    return found


def confirm(
    stored: StoredRun, *, trust: bool | Callable[[Sequence[UntrustedFile]], bool], options: Sequence[str] | None = None
) -> None:
    """Go on only if the user trusts the files that running this run's units would use; then remember them.

    Args:
        stored: the run.
        trust: the user's word, or what asks for it.
        options: of the launcher, from run.json; None: the user gave them now.

    Raises:
        UsageError: if not; nothing was run or changed.
    """
    if any(printable.MASK in option for option in options or ()):
        raise UsageError(
            f"{stored.path}: a value among the launcher's options was masked ({shown(' '.join(options or ()))}). "
            "Give the options again, behind --."
        )
    _same_folder(stored)
    files = user_files.of(stored.planned, stored.launcher, options)
    imports, as_they_ran = user_files.imports(_ran(stored), files)
    files += imports
    found = untrusted(files, (*stored.own_files, *as_they_ran), stored.token)
    if not found or (trust if isinstance(trust, bool) else trust(found)):
        if found:
            _remember(stored.token or "", files)
        _tell_workers(stored.path, files)
        return
    worst = next((each for each in found if each.changed), found[0])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    why = (
        f"{'is gone' if worst.file.what == 'missing' else 'changed'} since the run began, and results of two versions would be "
        "mixed: start a new run, or, if you want that,"
        if worst.changed
        else "is not known to be yours: this user did not begin the run with it. Read it; if you trust it,"
    )
    hashed = f" (sha256 {worst.file.sha256})" if worst.file.sha256 else ""
    raise UsageError(
        f"{worst.file.kind} {shown(worst.file.path or worst.file.name, 200)}{hashed}{more} {why} repeat with --trust."
    )
