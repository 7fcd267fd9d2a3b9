"""Reading text: files to bytes, split so that no file is on both sides, hashed so that losses are never compared across texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from modbench.harness import catalogue
from modbench.harness.contracts import Text
from modbench.harness.errors import UsageError

HELD_OUT = 0.1


def corpus_entry(corpus: str) -> tuple[str, str | None]:
    """`stdlib` is a catalogue name; anything else is a path."""
    return (corpus, None) if corpus in catalogue.entries("corpora") and corpus != "path" else ("path", corpus)


def from_file(path: Path) -> Text:
    """One file: its last tenth is held out.

    Raises:
        UsageError: if it is not text.
    """
    data = _text(path)
    if data is None:
        raise UsageError(f"corpus {str(path)!r} is not UTF-8 text.")
    cut = int(len(data) * (1 - HELD_OUT))
    return Text(str(path), data[:cut], data[cut:], hashlib.sha256(data).hexdigest())


def from_files(name: str, paths: Iterable[Path]) -> Text:
    """Many files: about a tenth of them is held out, chosen by the hash of their content.

    Equal files hash equally, so a text is never on both sides however often it was copied. Files that are not UTF-8 are
    left out.

    Raises:
        UsageError: if there are fewer than two texts.
    """
    by_hash: dict[str, bytes] = {}
    for path in paths:
        data = _text(path)
        if data:
            by_hash[hashlib.sha256(data).hexdigest()] = data
    ordered = sorted(by_hash)
    if len(ordered) < 2:
        raise UsageError(
            f"corpus {name!r}: {len(ordered)} different text file(s) cannot be split by file into a training and a "
            "held-out part. Name one file (its last tenth is held out), or a folder with more files."
        )
    # A small folder may have no hash below the threshold: the lowest is then held out, so one always is, and never all.
    held_out = max(1, min(len(ordered) - 1, sum(int(digest[:8], 16) < HELD_OUT * 2**32 for digest in ordered)))
    whole = hashlib.sha256("".join(ordered).encode()).hexdigest()
    val, train = ([by_hash[digest] for digest in side] for side in (ordered[:held_out], ordered[held_out:]))
    return Text(name, b"\n".join(train), b"\n".join(val), whole)


def _text(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    except OSError as error:
        raise UsageError(f"corpus: {path} cannot be read: {error.strerror}.") from error
    return None if b"\0" in data else data
