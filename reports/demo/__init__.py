"""The runs that `modbench demo` shows, and how they are packed: each in one file, with the JSON files of a run folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modbench.harness.results.record_files import seal

# A run that many people unpack is nobody's.
TOKEN = "0" * 32
# The runs that ship, by their suites.
SHIPPED = {suite: Path(__file__).parent / f"{suite}.json.gz" for suite in ("map", "quick")}


def pack(files: Mapping[str, Any]) -> bytes:
    """Pack the files of a run folder, content by path; equal files make equal bytes.

    The run gets the token of packed runs, and its records are sealed anew: whoever packs a run leaves out what is private.
    """
    files = {name: _sealed(content) if name.startswith("units/") else content for name, content in files.items()}
    files["run.json"] |= {"token": TOKEN}
    return gzip.compress(json.dumps(dict(sorted(files.items())), separators=(",", ":")).encode(), mtime=0)


def unpack(folder: Path, packed: Path) -> None:
    """Write a packed run's files into a folder, which exists."""
    for name, content in json.loads(gzip.decompress(packed.read_bytes())).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def _sealed(record: dict[str, Any]) -> str:
    body = {name: value for name, value in record.items() if name != "digest"} | {"token": TOKEN}
    return seal(json.dumps(body, separators=(",", ":"))).decode()
