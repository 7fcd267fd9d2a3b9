"""Any text file or folder of the user's: `--corpus PATH`."""

from __future__ import annotations

from pathlib import Path

from modbench.harness.contracts import Corpus, Text
from modbench.harness.corpus import from_file, from_files
from modbench.harness.errors import UsageError


def read(path: str | None) -> Text:
    """A file is cut (its last tenth is held out); a folder is split by file.

    Raises:
        UsageError: if there is nothing to read.
    """
    where = Path(path or "")
    if path and where.is_file():
        return from_file(where)
    if not path or not where.is_dir():
        raise UsageError(f"corpus {path!r} is neither a file, a folder, nor a known corpus ('stdlib').")
    return from_files(str(where), (p for p in where.rglob("*") if p.is_file() and not p.name.startswith(".")))


CORPUS = Corpus(read=read)
