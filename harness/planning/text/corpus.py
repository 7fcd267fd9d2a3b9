"""Read text and split it: no document is on both sides, and a hash keeps losses of different texts apart."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UnreadableError, UsageError
from modbench.harness.registry import catalogue

HELD_OUT = 0.1


def corpus_entry(corpus: str) -> tuple[str, str | None]:
    """Find the catalogue entry that reads a corpus, and its argument.

    `stdlib` is a catalogue name; `hf:NAME` is a Hugging Face data set, passed as it is; anything else is a path.
    """
    if corpus.startswith("hf:"):
        return "hf", corpus
    return (corpus, None) if corpus in catalogue.entries("corpora") and corpus != "path" else ("path", corpus)


def from_file(path: Path) -> Text:
    """Read one file of text, gzipped or not; its last tenth is held out.

    Raises:
        UsageError: if it is not text.
    """
    data = read_text(path)
    if data is None:
        raise UsageError(f"corpus {str(path)!r} is not UTF-8 text.")
    cut = int(len(data) * (1 - HELD_OUT))
    while cut < len(data) and data[cut] & 0xC0 == 0x80:  # inside a character: both sides must be UTF-8
        cut -= 1
    return Text(str(path), data[:cut], data[cut:], hashlib.sha256(data).hexdigest())


def from_files(name: str, paths: Iterable[Path]) -> Text:
    """Read many files, each of which is a document. Files that are not UTF-8 are left out.

    Raises:
        UsageError: if there are fewer than two texts.
    """
    return from_documents(name, (data for data in map(read_text, paths) if data), "text file")


def from_documents(name: str, documents: Iterable[bytes], kind: str = "document") -> Text:
    """Split documents in UTF-8: about a tenth of them, chosen by the hash of their content, is held out.

    Equal documents hash equally, so a text is never on both sides, and only one of several copies is kept. The
    result depends on neither names, order nor format.

    Raises:
        UsageError: if there are fewer than two different documents.
    """
    by_hash = {hashlib.sha256(data).hexdigest(): data for data in documents if data}
    ordered = sorted(by_hash)
    if len(ordered) < 2:
        raise UsageError(
            f"corpus {name!r}: {len(ordered)} different {kind}(s) cannot be split into a training and a "
            "held-out part. Name one text file (its last tenth is held out), or something with more of them."
        )
    # A small folder may have no hash below the threshold: the lowest is then held out, so one always is, and never all.
    held_out = max(1, min(len(ordered) - 1, sum(int(digest[:8], 16) < HELD_OUT * 2**32 for digest in ordered)))
    whole = hashlib.sha256("".join(ordered).encode()).hexdigest()
    val, train = ([by_hash[digest] for digest in side] for side in (ordered[:held_out], ordered[held_out:]))
    return Text(name, b"\n".join(train), b"\n".join(val), whole)


def read_text(path: Path) -> bytes | None:
    """Read the bytes of a file, unpacked if it ends in `.gz`; None if they are not UTF-8 text.

    Raises:
        UsageError: if it cannot be read.
    """
    if path.name.endswith(".tar.gz"):  # an archive, not text, and possibly large
        return None
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error
    return None if b"\0" in data else data


def unreadable(path: Path, error: Exception) -> UsageError:
    """Make the error for a file that exists but cannot be read."""
    return UnreadableError(f"corpus: {path} cannot be read: {getattr(error, 'strerror', None) or error}.")
