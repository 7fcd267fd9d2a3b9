"""The stored run that `modbench demo` shows, and how it is packed: one compressed file with the JSON files of a run folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKED = Path(__file__).parent / "run.json.gz"


def pack(files: Mapping[str, Any]) -> bytes:
    """Pack the files of a run folder; equal files make equal bytes.

    Args:
        files: path in the folder to content, as JSON values.
    """
    return gzip.compress(json.dumps(dict(sorted(files.items())), separators=(",", ":")).encode(), mtime=0)


def unpack(folder: Path, packed: Path | None = None) -> None:
    """Write a packed run's files, by default those of the run that is stored here, into a folder, which exists."""
    for name, content in json.loads(gzip.decompress((packed or PACKED).read_bytes())).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
