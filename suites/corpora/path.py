"""Any text file or folder of the user's: `--corpus PATH`."""

from __future__ import annotations

from collections.abc import Iterator
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
    return from_files(str(where), _visible(where))


def _visible(root: Path) -> Iterator[Path]:
    """Files of a folder; hidden ones, hidden folders (.git, .venv) and run folders, which grow meanwhile, are left out."""
    runs = {file.parent for file in root.rglob("run.json")}
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden and runs.isdisjoint(path.parents):
            yield path


CORPUS = Corpus(read=read)
