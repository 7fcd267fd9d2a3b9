"""Your text, jsonl or parquet file, or a folder of them: `--corpus PATH`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from modbench.harness.core.contracts import Corpus, Text
from modbench.harness.core.errors import UsageError, near_path
from modbench.harness.planning.text.corpus import from_documents, from_file, from_files, read_text
from modbench.suites.corpora._records import documents, holds_records, split


def read(path: str | None) -> Text:
    """Read a file or folder. Of a text file the last tenth is held out; folders are split by file, jsonl and parquet by document.

    All but parquet may be gzipped. `PATH?column=NAME` names the field of jsonl or parquet that holds the text.

    Raises:
        UsageError: if the path does not exist or holds no text.
    """
    name, options = split(path or "", ("column",))
    where, asked = Path(name), options.get("column")
    if name and where.is_file():
        if holds_records(where):
            return from_documents(str(where), documents(where, asked))
        if asked:
            raise UsageError(f"corpus {path!r}: a text file has no columns. Name it without '?column={asked}'.")
        return from_file(where)
    if not name or not where.is_dir():
        near = near_path(name, Path.exists)
        raise UsageError(
            f"corpus {name!r} is neither a file, a folder, nor a known corpus ('stdlib', 'hf:NAME').{near}"
        )
    files = list(_visible(where))
    if any(map(holds_records, files)):
        return from_documents(str(where), _all(files, asked))
    if asked:
        raise UsageError(
            f"corpus {path!r}: no file of this folder is jsonl or parquet. Name it without '?column={asked}'."
        )
    return from_files(str(where), files)


def _all(files: Iterable[Path], asked: str | None) -> Iterator[bytes]:
    """Documents: every record of jsonl and parquet files, and every other file that is text."""
    for path in files:
        if holds_records(path):
            yield from documents(path, asked)
        else:
            yield read_text(path) or b""


def _visible(root: Path) -> Iterator[Path]:
    """Files of a folder, without hidden files, hidden folders (.git, .venv) and run folders, which grow during a run."""
    runs = {file.parent for file in root.rglob("run.json")}
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden and runs.isdisjoint(path.parents):
            yield path


CORPUS = Corpus(read=read)
