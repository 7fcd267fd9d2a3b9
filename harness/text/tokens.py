"""Tokenizers: `bytes`, a byte-level BPE that is trained on the training side and kept in the cache folder, or a model's own.

Losses of different tokenizers compare in bits per byte: nats per token / ln 2 x tokens per byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modbench.harness.core import extras
from modbench.harness.core.contracts import TOKENIZERS, Text
from modbench.harness.core.errors import ModbenchError, UsageError, unknown
from modbench.harness.text import disk_cache

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

BYTES = 256
# Tokens never run from a visible character into a line's end, so a text cut there has the tokens of the uncut one. Pieces of this
# size keep memory small, and are faster than one long string.
CUT = re.compile(rb"(?<=[!-~])(?=\n)")
PIECE_BYTES = 1 << 16
KEPT = ("tokenizer.json", "train.npy", "val.npy")


@dataclass(frozen=True, eq=False)
class Tokens:
    """A corpus as tokens.

    Attributes:
        train: ids of the training side, 1-D, uint8, uint16 or uint32, read-only.
        val: ids of the held-out side.
        vocab_size: number of ids: each is below it. A small corpus may have fewer than requested.
        tokens_per_byte: of the held-out side; 1 for bytes.
        pieces: the bytes of each id; joined over a side they are its text.
        identity: equal where ids mean the same; losses per token of other ones are not compared.
    """

    train: npt.NDArray[np.unsignedinteger[Any]]
    val: npt.NDArray[np.unsignedinteger[Any]]
    vocab_size: int
    tokens_per_byte: float
    pieces: tuple[bytes, ...]
    identity: str = "bytes"

    def check_length(self, corpus: str, seq_len: int, held_out: int = 1) -> None:
        """Check that each side has at least one window.

        Args:
            corpus: its name.
            seq_len: tokens of a window; one more is the last one's target.
            held_out: windows that the held-out side must have.

        Raises:
            UsageError: if a side is shorter.
        """
        for side, ids, windows in (("training", self.train, 1), ("held-out", self.val, held_out)):
            if len(ids) <= windows * seq_len:
                unit = "bytes" if self.identity == "bytes" else "tokens"
                least = f"{windows * seq_len + 1} of {'one window' if windows == 1 else f'{windows} windows'}"
                raise UsageError(
                    f"corpus {corpus!r}: its {side} part has {len(ids)} {unit}, fewer than the {least}. Give a larger file or "
                    "folder, or shorter windows."
                )


def encode(text: Text, tokenizer: str, vocab_size: int) -> Tokens:
    """Tokenize both sides of a corpus.

    Args:
        text: both sides in UTF-8.
        tokenizer: `bytes`, `bpe`, or the tokenizer of a model, such as `hf:FOLDER`.
        vocab_size: largest number of ids: at least 256 for bytes, which use no more; at least 257 for bpe.

    Raises:
        UsageError: if the tokenizer is unknown, its package not installed, the vocabulary too small, or a side empty.
    """
    own = ":" in tokenizer
    if not own and tokenizer not in TOKENIZERS:
        raise unknown("tokenizer", tokenizer, TOKENIZERS)
    least = BYTES if tokenizer == "bytes" else BYTES + 1
    if not own and vocab_size < least:
        what = "the 256 bytes" if tokenizer == "bytes" else "the 256 bytes and a merge of two"
        raise UsageError(
            f"tokenizer {tokenizer!r}: vocab_size {vocab_size} cannot hold {what}. Set vocab_size={least} or more."
        )
    for side, data in (("training", text.train), ("held-out", text.val)):
        if not data:
            raise UsageError(f"corpus {text.name!r} has no {side} text. Name a larger file or folder.")
    if own:
        from modbench.harness.text import given_tokenizer

        return given_tokenizer.encode(text, tokenizer, vocab_size)
    return _bpe(text, vocab_size) if tokenizer == "bpe" else _bytes(text)


def _bytes(text: Text) -> Tokens:
    import numpy as np

    train, val = (np.frombuffer(data, dtype=np.uint8) for data in (text.train, text.val))
    return Tokens(train, val, BYTES, 1.0, tuple(bytes([byte]) for byte in range(BYTES)))


def _bpe(text: Text, vocab_size: int) -> Tokens:
    library = extras.load("tokenizers", "bpe", "tokenizer 'bpe'")
    sides = [hashlib.sha256(data).hexdigest() for data in (text.train, text.val)]
    key = ("bpe", "1", str(vocab_size), library.__version__, *sides)
    tokens = _read(disk_cache.load("tokens", key), text)
    if tokens is None:
        with one_thread():
            files = _build(library, text, vocab_size)
        disk_cache.keep("tokens", key, files)
        tokens = _read(files, text)
        if tokens is None:
            raise ModbenchError(f"tokenizers {library.__version__} wrote a tokenizer that modbench cannot read.")
    return tokens


def _read(files: dict[str, bytes] | None, text: Text) -> Tokens | None:
    """Read tokens from the files of a cache entry; None if there is none or it is not valid."""
    import numpy as np

    if files is None or not files.keys() >= set(KEPT):
        return None
    try:
        pieces = _pieces(files["tokenizer.json"])
        train, val = (np.load(io.BytesIO(files[name]), allow_pickle=False) for name in KEPT[1:])
    except (ValueError, KeyError, TypeError, EOFError):
        return None
    for ids in (train, val):
        if ids.ndim != 1 or ids.dtype != dtype_of(len(pieces)) or not ids.size or ids.max() >= len(pieces):
            return None
        ids.setflags(write=False)
    identity = f"bpe {hashlib.sha256(files[KEPT[0]]).hexdigest()[:12]}"
    return Tokens(train, val, len(pieces), len(val) / len(text.val), pieces, identity)


def _build(library: ModuleType, text: Text, vocab_size: int) -> dict[str, bytes]:
    """Train on the training side, encode both sides."""
    import numpy as np

    made = _trained(library, text.train, vocab_size)
    described = made.to_str().encode()
    pieces = _pieces(described)
    files = {KEPT[0]: described}
    for name, data in zip(KEPT[1:], (text.train, text.val), strict=True):
        parts = []
        for piece in cut(data, CUT):
            (encoding,) = made.encode_batch_fast([piece.decode()], add_special_tokens=False)
            if b"".join([pieces[i] for i in encoding.ids]) != piece:
                raise ModbenchError(f"tokenizers {library.__version__} lost text. Use the tokenizer 'bytes'.")
            parts.append(np.asarray(encoding.ids, dtype=dtype_of(len(pieces))))
        file = io.BytesIO()
        np.save(file, np.concatenate(parts), allow_pickle=False)
        files[name] = file.getvalue()
    return files


def _trained(library: ModuleType, data: bytes, vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE without normaliser; its vocabulary starts with all 256 bytes, so no text is unknown or lost."""
    level = library.pre_tokenizers.ByteLevel
    made: Tokenizer = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = level(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=level.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    made.train_from_iterator((piece.decode() for piece in cut(data, CUT)), trainer)
    return made


def cut(data: bytes, where: re.Pattern[bytes]) -> Iterator[bytes]:
    """Cut text into pieces of about `PIECE_BYTES`, only at places that no token runs over."""
    start = 0
    while start < len(data):
        found = where.search(data, start + PIECE_BYTES)
        end = found.start() if found else len(data)
        yield data[start:end]
        start = end


def _pieces(described: bytes) -> tuple[bytes, ...]:
    """Read the bytes of every id from a tokenizer's JSON."""
    byte_of = byte_characters()
    vocabulary: dict[str, int] = json.loads(described)["model"]["vocab"]
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in ordered] != list(range(len(ordered))):
        raise ValueError("ids are not 0, 1, 2, …")
    return tuple(bytes(byte_of[character] for character in token) for token in ordered)


def byte_characters() -> dict[str, int]:
    """The printable character that a byte-level tokenizer writes for each byte.

    A byte that is printable in Latin-1 is written as itself; the others as the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(BYTES) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def dtype_of(vocab_size: int) -> npt.DTypeLike:
    """The smallest type of ids that is used."""
    import numpy as np

    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep the package from starting threads, which would stay alive during timing and break later forks.

    TOKENIZERS_PARALLELISM is left alone if the user has set it.
    """
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]
