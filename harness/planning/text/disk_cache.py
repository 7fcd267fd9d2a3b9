"""The cache between runs: sets of files under the user's cache folder, used only if their hashes match.

Anything in the folder (`core/atomic_files.py`) may be deleted at any time. Several processes may write one entry at
once: each file is replaced whole, and files of two writers do not match the hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from modbench.harness.core.atomic_files import cache_folder, write_atomically

MANIFEST = "manifest.json"


def folder() -> Path | None:
    """The cache folder; None if the user has no home."""
    try:
        return cache_folder()
    except RuntimeError:
        return None


def load(kind: str, key: tuple[str, ...]) -> dict[str, bytes] | None:
    """Read the files of an entry, by name; None if there is no entry or a file is damaged."""
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
    """Write or replace an entry. On a full or read-only disk nothing is written and nothing raised."""
    entry = _entry(kind, key)
    if entry is None:
        return
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with contextlib.suppress(OSError):
        entry.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(entry / name, data)
        _write(entry / MANIFEST, json.dumps(hashes, indent=1).encode())  # last: until then the old hashes do not match


def _entry(kind: str, key: tuple[str, ...]) -> Path | None:
    root = folder()
    return root / kind / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32] if root else None


def _write(path: Path, data: bytes) -> None:
    """Write a file for this user alone, without waiting for the disk: a file torn by a power cut is found by its hash."""
    write_atomically(path, data, sync=False, mode=0o600)
