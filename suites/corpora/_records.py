"""Files that hold many documents: jsonl, gzipped or not, and parquet. Options after the `?` of a corpus name.

These are as in `data.jsonl?column=story` and `hf:NAME?split=train&megabytes=10`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from modbench.harness.core import optional_packages
from modbench.harness.core.errors import UnreadableError, UsageError, unknown
from modbench.harness.planning.text.corpus import unreadable


def split(corpus: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """Split a corpus name into its path and its options. A `?` in the name of an existing file does not begin options.

    Raises:
        UsageError: if an option is unknown, empty or given twice.
    """
    if "?" not in corpus or Path(corpus).exists():
        return corpus, {}
    where, _, query = corpus.rpartition("?")
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in known:
            raise unknown(f"option of corpus {where!r}:", name, known)
        if not value or name in options:
            raise UsageError(f"corpus {where!r}: option {name!r} needs one value, as in ?{name}=VALUE.")
        options[name] = value
    return where, options


def column(names: Collection[str], texts: Collection[str], asked: str | None, where: str) -> str:
    """The column that holds the text: the one asked for, else `text`, else `content`, else the only column of strings.

    Args:
        names: all columns.
        texts: columns that hold strings.
        asked: the user's `?column=`.
        where: name of the table in errors.

    Raises:
        UsageError: if the column does not exist, or several hold strings.
    """
    if asked is not None:
        if asked not in names:
            raise unknown(f"column of {where}:", asked, map(str, names))
        return asked
    for name in ("text", "content"):
        if name in names:
            return name
    if len(texts) == 1:
        return next(iter(texts))
    shown = ", ".join(repr(name)[:40] for name in list(texts or names)[:8])
    of = "fields of text" if texts else "no field of text, only"
    raise UsageError(
        f"{where} has neither a field 'text' nor 'content'; it has {of} {shown or 'nothing'}. "
        "Say which one to read: add '?column=NAME' to the corpus."
    )


JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
PARQUET = ".parquet"


def holds_records(path: Path) -> bool:
    """Whether a file holds one document per record, by its suffix."""
    return path.name.lower().endswith((*JSON_LINES, PARQUET))


def documents(path: Path, asked: str | None) -> Iterator[bytes]:
    """The documents of a file as UTF-8, in order. Records whose text is null or empty are skipped.

    Args:
        path: a file for which `holds_records` is true.
        asked: field that holds the text; None: see `_options.column`.

    Raises:
        UsageError: if the file cannot be read, or no field holds text.
    """
    read = _parquet if path.name.lower().endswith(PARQUET) else _json_lines
    for value in read(path, asked):
        document = as_document(value)
        if document:
            yield document


def as_document(value: str | None) -> bytes | None:
    """A text as UTF-8; None if it is empty, or has an unpaired surrogate and cannot be encoded."""
    try:
        return value.encode() if value else None
    except UnicodeEncodeError:
        return None


def _json_lines(path: Path, asked: str | None) -> Iterator[str | None]:
    name = None
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}:"
                record = _record(line, where)
                if name is None:  # the first record decides for all
                    texts = [key for key, value in record.items() if isinstance(value, str)]
                    name = column(record, texts, asked, where)
                value = record.get(name)
                if value is not None and not isinstance(value, str):
                    raise UsageError(
                        f"{where} field {name!r} holds {_kind(value)}, not text. Name another: '?column=NAME'."
                    )
                yield value
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{where} not JSON: {error}. A jsonl file holds one JSON object a line.") from error
    if not isinstance(record, dict):
        raise UsageError(f'{where} {_kind(record)}, not an object such as {{"text": "Once upon a time"}}.')
    return record


def _kind(value: object) -> str:
    """The JSON name of a value's type."""
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _parquet(path: Path, asked: str | None) -> Iterator[str | None]:
    pyarrow = optional_packages.load("pyarrow", "parquet", f"corpus: {path}")
    parquet = optional_packages.load("pyarrow.parquet", "parquet", f"corpus: {path}")
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            texts = [field.name for field in schema if _is_text(pyarrow.types, field.type)]
            name = column(schema.names, texts, asked, str(path))
            if name not in texts:
                kind = schema.field(name).type
                raise UsageError(f"{path}: column {name!r} holds {kind}, not text. Name another: '?column=NAME'.")
            # Without threads: they would stay alive during timed work.
            for batch in file.iter_batches(columns=[name], use_threads=False):
                yield from batch.column(name).to_pylist()
    except (OSError, KeyError, pyarrow.ArrowException) as error:  # KeyError: two columns of one name
        raise unreadable(path, error) from error


def _is_text(types: ModuleType, kind: Any) -> bool:  # noqa: ANN401  # a pyarrow type: pyarrow is an optional extra
    plain = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(plain) or types.is_large_string(plain))
