"""What is kept between runs to save time: sets of files under the user's cache folder, believed only while their hashes hold.

The folder is `MODBENCH_CACHE`, else XDG's. Anything in it may be deleted at any time. Several processes may write one entry at
once: each file is replaced whole, and a reader that sees files of two writers sees that the hashes differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from modbench.harness.core import user_folders
from modbench.harness.core.files import write_atomically

MANIFEST = "manifest.json"


def folder() -> Path | None:
    """Where it is kept; None where the user has no home."""
    try:
        return user_folders.cache()
    except RuntimeError:
        return None


def load(kind: str, key: tuple[str, ...]) -> dict[str, bytes] | None:
    """The files of an entry by name; None where there is none or one of them is damaged."""
    entry = _entry(kind, key)
    if entry is None:
        return None
    try:
        hashes = json.loads((entry / MANIFEST).read_bytes())
        files = {name: (entry / name).read_bytes() for name in hashes}
        whole = all(hashlib.sha256(data).hexdigest() == hashes[name] for name, data in files.items())
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return files if whole else None


def keep(kind: str, key: tuple[str, ...], files: Mapping[str, bytes]) -> None:
    """Write an entry, or replace it. A disk that is full or read-only costs the next reader time, not this one its result."""
    entry = _entry(kind, key)
    if entry is None:
        return
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with contextlib.suppress(OSError):
        entry.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(entry / name, data)
        _write(entry / MANIFEST, json.dumps(hashes, indent=1).encode())  # last: until then the old hashes do not hold


def _entry(kind: str, key: tuple[str, ...]) -> Path | None:
    root = folder()
    return root / kind / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32] if root else None


def _write(path: Path, data: bytes) -> None:
    """Write a file for this user alone, without waiting for the disk: a file torn by a power cut is found by its hash."""
    write_atomically(path, data, sync=False, mode=0o600)
