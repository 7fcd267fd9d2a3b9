"""The runs that `modbench demo` shows, and how they are packed: each in one file, with the JSON files of a run folder."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modbench.harness.results.json_files import seal

# The runs that ship, by their suites.
SHIPPED = {suite: Path(__file__).parent / f"{suite}.json.xz" for suite in ("map", "quick")}


def pack(files: Mapping[str, Any]) -> bytes:
    """Pack the files of a run folder, content by path; equal files make equal bytes.

    Whoever packs a run leaves out what is private. Files get their digests where they are unpacked.
    """
    files = {name: {key: value for key, value in files[name].items() if key != "digest"} for name in sorted(files)}
    return lzma.compress(_compact(files).encode(), preset=lzma.PRESET_EXTREME | 9)


def unpack(folder: Path, packed: Path) -> None:
    """Write a packed run's files into a folder, which exists."""
    for name, content in contents(packed.read_bytes()).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seal(_compact(content)))


def contents(packed: bytes) -> dict[str, Any]:
    """Return the files of a packed run by path, without their digests."""
    files: dict[str, Any] = json.loads(lzma.decompress(packed))
    return files


def _compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))
