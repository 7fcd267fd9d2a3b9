"""A Hugging Face data set, from the hub or a local folder: `--corpus 'hf:NAME?split=train&column=text&megabytes=50'`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from modbench.extend import (
    Corpus,
    Text,
    UnreadableError,
    UsageError,
    as_document,
    column,
    disk_cache,
    from_documents,
    optional_packages,
    split,
)

DEFAULTS = {"split": "train", "column": "", "config": "", "revision": "", "megabytes": "", "stream": ""}
# Data sets on the hub can have terabytes: more than this must be asked for.
MEGABYTES = "50"
SAVED_TO_DISK = ("dataset_dict.json", "state.json")


def read(spec: str | None) -> Text:
    """Read the documents of a data set, or its first `megabytes`; about a tenth of the documents is held out.

    Text from the hub is kept in the cache folder, so that every process of a run and every later run read the same text, with or
    without a network. Give a `revision` to pin it; delete the cache folder to read it again.

    Args:
        spec: `hf:NAME?OPTIONS`, options joined by `&`. NAME is a name on the hub, a local folder of data files, or a folder
            written by `save_to_disk`. Options: `split` (train), `column` (text, else content, else the only one of strings),
            `config` (subset of a data set), `revision` (branch, tag or commit), `megabytes` of text from its start, or `all`
            (default: 50 from the hub, all of a folder), `stream` (1: fetch only what is read, 0: download the whole set;
            default 1 unless `HF_HUB_OFFLINE` is set).

    Raises:
        UsageError: if the data set cannot be read.
    """
    spec = (spec or "").removeprefix("hf:")
    name, given = split(spec, DEFAULTS)
    if not name:
        raise UsageError(
            "corpus 'hf:' names no data set. Write hf:NAME, such as 'hf:roneneldan/TinyStories?split=train'."
        )
    local = Path(name).is_dir()
    options = DEFAULTS | given
    options["megabytes"] = options["megabytes"] or ("all" if local else MEGABYTES)
    limit = _bytes(options["megabytes"])
    if options["stream"] not in {"", "0", "1"}:
        raise UsageError(f"corpus 'hf:{spec}': stream is 0 or 1, not {options['stream']!r}.")
    if Path(name).is_file():
        raise UsageError(f"corpus 'hf:{spec}': {name!r} is a file. Leave out 'hf:' to read it.")
    if local:
        return from_documents(f"hf:{spec}", _documents(spec, name, options, limit))
    key = ("hf", "1", name, *(options[option] for option in DEFAULTS if option != "stream"))
    text = _kept(f"hf:{spec}", key)
    if text is None:
        text = from_documents(f"hf:{spec}", _documents(spec, name, options, limit))
        disk_cache.keep("corpora", key, {"train": text.train, "val": text.val, "sha256": text.sha256.encode()})
    return text


def _kept(name: str, key: tuple[str, ...]) -> Text | None:
    files = disk_cache.load("corpora", key)
    return Text(name, files["train"], files["val"], files["sha256"].decode()) if files else None


def _bytes(megabytes: str) -> float:
    if megabytes == "all":
        return math.inf
    with contextlib.suppress(ValueError):
        limit = float(megabytes) * 1e6
        if 0 < limit < math.inf:
            return limit
    raise UsageError(f"corpus 'hf:': megabytes is a number above 0 or 'all', not {megabytes!r}.")


def _documents(spec: str, name: str, options: dict[str, str], limit: float) -> Iterator[bytes]:
    """Documents from the start of the set until they reach `limit` bytes."""
    library = optional_packages.load("datasets", "hf", f"corpus 'hf:{spec}'")
    total = 0
    try:
        with _without_bars(library):
            for value in _values(library, spec, name, options):
                document = as_document(value)
                if document:
                    total += len(document)
                    yield document
                if total >= limit:
                    return
    except UsageError:
        raise
    except Exception as error:  # hub, network and file readers raise many types
        raise _refused(library, spec, error) from error


def _values(library: ModuleType, spec: str, name: str, options: dict[str, str]) -> Iterator[str | None]:
    """The text column of a data set."""
    if any((Path(name) / file).is_file() for file in SAVED_TO_DISK):
        table = library.load_from_disk(name)
        if isinstance(table, dict):
            if options["split"] not in table:
                raise ValueError(f"Bad split: {options['split']}. Available splits: {sorted(table)}")
            table = table[options["split"]]
    else:
        table = library.load_dataset(
            name,
            options["config"] or None,
            split=options["split"],
            trust_remote_code=False,  # before version 4 the library asks on the terminal whether to run a data set's script
            revision=options["revision"] or None,
            streaming=options["stream"] == "1" or (not options["stream"] and not library.config.HF_HUB_OFFLINE),
        )
    types = table.features
    if types is None:  # a streamed set may not declare its columns
        row: dict[str, Any] = next(iter(table), {})
        names, texts = list(row), [key for key, value in row.items() if isinstance(value, str)]
    else:
        names, texts = list(types), [key for key, kind in types.items() if "string" in str(getattr(kind, "dtype", ""))]
    chosen = column(names, texts, options["column"] or None, f"corpus 'hf:{spec}'")
    for row in table.select_columns([chosen]):  # do not decode other columns, such as pictures
        value = row[chosen]
        if value is not None and not isinstance(value, str):
            raise UsageError(
                f"corpus 'hf:{spec}': column {chosen!r} holds {type(value).__name__}, not text. Name another."
            )
        yield value


@contextlib.contextmanager
def _without_bars(library: ModuleType) -> Iterator[None]:
    """Hide the library's progress bars, which would overwrite ours."""
    shown = library.is_progress_bar_enabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bars()


def _refused(library: ModuleType, spec: str, error: Exception) -> UsageError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
    if isinstance(error, library.exceptions.DatasetNotFoundError):
        hint = "Check the name; a private or gated set needs `hf auth login`."
    elif isinstance(error, ValueError):
        hint = "Choose with 'split=', 'config='; a slice of a split needs 'stream=0'."
    elif isinstance(error, ConnectionError):
        hint = "Without network: 'stream=0' reads what was downloaded before, --corpus PATH reads a file."
    else:
        hint = f"({type(error).__name__})"
    return UnreadableError(f"corpus 'hf:{spec}' cannot be read: {said}. {hint}")


CORPUS = Corpus(read=read)
