"""Shared by tasks that read files: the training and the held-out files, records, hashes, and a split by key.

Files named dev, val, valid or validation are held out; if there are none, those named test. Files named train are trained on;
if there are none, all that are not held out. Otherwise records are split by the hash of their key. A record that shares its key
with a held-out record is never trained on, whatever its file is named.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from modbench.extend import UnreadableError, UsageError
from modbench.plugins.tasks.tasks._build import HELD_OUT

R = TypeVar("R")
# One key in six is held out where file names do not decide.
SHARE = 6
NAMES = (frozenset({"dev", "val", "valid", "validation"}), frozenset({"test"}), frozenset({"train", "training"}))


@dataclass(frozen=True)
class Sides:
    """The files of each side; `held_out` is empty if a hash must decide."""

    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    sha256: str


def sides(task: str, path: str | None, suffixes: tuple[str, ...]) -> Sides:
    """Assign the files at `path`, a file or a folder, to their sides.

    Raises:
        UsageError: if there is no file with one of the suffixes, or a file cannot be read.
    """
    where = Path(path or "")
    try:
        files = sorted(file for file in where.iterdir() if file.suffix in suffixes) if where.is_dir() else [where]
        hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if path]
    except OSError as error:
        raise UnreadableError(
            f"task {task!r}: {path!r} cannot be read: {error.strerror}. {_usage(task, suffixes)}"
        ) from error
    if not hashes:
        raise UsageError(f"task {task!r}: {path!r} has no {' or '.join(suffixes)} file. {_usage(task, suffixes)}")
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest()
    dev, test, train = ([file for file in files if names & _words(file)] for names in NAMES)
    held_out = dev or test
    rest = [file for file in files if file not in held_out]
    chosen = [file for file in train if file in rest] or rest
    if not chosen or not held_out:  # one side would be empty: split all by hash
        return Sides(tuple(files), (), whole)
    return Sides(tuple(chosen), tuple(held_out), whole)


def _usage(task: str, suffixes: tuple[str, ...]) -> str:
    return f"Name a {' or '.join(suffixes)} file, or a folder of such: --set tasks.paths.{task}=PATH."


def _words(file: Path) -> set[str]:
    return set(re.split(r"[^a-z]+", file.name.lower()))


def split(
    task: str, sides: Sides, read: Callable[[Path], Iterable[R]], key: Callable[[R], str]
) -> tuple[list[R], list[R]]:
    """Training records, and at most `HELD_OUT` held-out records, evenly spaced; no key is on both sides.

    Raises:
        UsageError: if a side would be empty.
    """
    train = [record for file in sides.train for record in read(file)]
    held_out = [record for file in sides.held_out for record in read(file)]
    if not sides.held_out:
        held_out = [record for record in train if _number(key(record)) % SHARE == 0]
    kept = {key(record) for record in held_out}
    train = [record for record in train if key(record) not in kept]
    if not train or not held_out:
        names = ", ".join(file.name for file in (*sides.train, *sides.held_out))
        raise UsageError(
            f"task {task!r}: {names} leaves {len(train)} examples to train on and {len(held_out)} held out, without "
            "counting records that lack a label or an answer. Give more, or a folder with a train and a dev file."
        )
    if len(held_out) > HELD_OUT:
        held_out = [held_out[i] for i in np.linspace(0, len(held_out) - 1, HELD_OUT).astype(int)]
    return train, held_out


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def records(task: str, file: Path) -> Iterator[Any]:
    """The records of a jsonl, json or tsv file.

    Raises:
        UsageError: if the file cannot be read in the format of its suffix.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".tsv":
            yield from csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        elif file.suffix == ".json":
            whole = json.loads(text)
            yield from whole if isinstance(whole, list) else [whole]
        else:
            # Not splitlines: a JSON string may hold Unicode line separators, which do not end a record.
            yield from (_line(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UnreadableError(f"task {task!r}: {file} cannot be read as {file.suffix[1:]}: {error}.") from error


def _line(number: int, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
