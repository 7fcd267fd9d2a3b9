"""Tokenizers: `bytes`, a byte-level BPE that is trained on the training side and kept in the cache folder, or a model's own.

Losses of different tokenizers compare in bits per byte: nats per token / ln 2 x tokens per byte. Tokens must give back the text
byte by byte, or these would be the bits of another text: a tokenizer that lower-cases or normalises is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modbench.harness.core import optional_packages
from modbench.harness.core.contracts import TOKENIZERS, Text
from modbench.harness.core.errors import ModbenchError, UnreadableError, UsageError, in_short, unknown
from modbench.harness.planning.text import disk_cache
from modbench.harness.registry.model_loaders import from_loader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

    Ids = npt.NDArray[np.unsignedinteger[Any]]

BYTES = 256
# Tokens of `bpe` never run from a visible character into a line's end, so a text cut there has the tokens of the uncut one.
CUT = re.compile(rb"(?<=[!-~])(?=\n)")
# A line's end between visible characters: the patterns of GPT-2, Llama 3 and Qwen keep it with what stands before it, if with
# anything, and never with what follows.
GIVEN_CUT = re.compile(rb"(?<=[!-~]\n)(?=[!-~])")
# Pieces of this size keep memory small, and are faster than one long string.
PIECE_BYTES = 1 << 16
DESCRIBED, SIDES = "tokenizer.json", ("train.npy", "val.npy")
A_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


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

    train: Ids
    val: Ids
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
                least = f"{windows * seq_len + 1} of {'one sequence' if windows == 1 else f'{windows} sequences'}"
                raise UsageError(
                    f"corpus {corpus!r}: its {side} part has {len(ids)} {unit}, fewer than the {least}. Give a larger file or "
                    "folder, or shorter sequences."
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
        return _given(text, tokenizer, vocab_size)
    return _bpe(text, vocab_size) if tokenizer == "bpe" else _bytes(text)


def _bytes(text: Text) -> Tokens:
    import numpy as np

    train, val = (np.frombuffer(data, dtype=np.uint8) for data in (text.train, text.val))
    return Tokens(train, val, BYTES, 1.0, tuple(bytes([byte]) for byte in range(BYTES)))


def _bpe(text: Text, vocab_size: int) -> Tokens:
    library = optional_packages.load("tokenizers", "bpe", "tokenizer 'bpe'")
    key = ("bpe", "1", str(vocab_size), library.__version__, _hash(text.train), _hash(text.val))
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
    """Read tokens of `bpe` from the files of a cache entry; None if there is none or it is not valid."""
    if files is None or DESCRIBED not in files:
        return None
    try:
        pieces = pieces_of(json.loads(files[DESCRIBED]))
    except (ValueError, KeyError, TypeError):
        return None
    sides = None if b"" in pieces else _sides(files, len(pieces))
    return None if sides is None else _tokens(sides, text, pieces, f"bpe {_hash(files[DESCRIBED])[:12]}")


def _build(library: ModuleType, text: Text, vocab_size: int) -> dict[str, bytes]:
    """Train on the training side, encode both sides."""
    made = _trained(library, text.train, vocab_size)
    described = made.to_str().encode()
    pieces = pieces_of(json.loads(described))
    files = {DESCRIBED: described}
    for name, data in zip(SIDES, (text.train, text.val), strict=True):
        ids = _ids(made, pieces, data, CUT)
        if ids is None:
            raise ModbenchError(f"tokenizers {library.__version__} lost text. Use the tokenizer 'bytes'.")
        files[name] = _file(ids)
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


def _given(text: Text, spec: str, vocab_size: int) -> Tokens:
    """Tokenize by a tokenizer that exists already, in the JSON format of the package `tokenizers`: that of a pretrained model.

    Raises:
        UsageError: if there is no such tokenizer, the model cannot hold its ids, or it loses text.
    """
    from modbench.harness.core.model_specs import parse_spec  # stands on pydantic

    found = from_loader(*parse_spec(spec))
    if found is None:
        raise UsageError(f"tokenizer {spec!r} is none. Write bytes, bpe, or hf:FOLDER for that of a model.")
    described = found.tokenizer_json()
    try:
        pieces = pieces_of(json.loads(described))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(
            f"tokenizer {spec!r} is damaged, or of a kind that is not read: {in_short(error)}."
        ) from error
    if len(pieces) > vocab_size:
        raise UsageError(
            f"tokenizer {spec!r} has {len(pieces):,} tokens, which a model of vocab_size {vocab_size:,} cannot hold. Name the "
            f"tokenizer that stored weights were trained with; for other models set vocab_size={len(pieces)}."
        )
    library = optional_packages.load("tokenizers", "hf", f"tokenizer {spec!r}")
    key = ("given", "1", library.__version__, *map(_hash, (described, text.train, text.val)))
    sides = _sides(disk_cache.load("tokens", key), len(pieces))
    if sides is None:
        sides = [_given_ids(library, described, spec, pieces, data) for data in (text.train, text.val)]
        disk_cache.keep("tokens", key, {name: _file(ids) for name, ids in zip(SIDES, sides, strict=True)})
    return _tokens(sides, text, pieces, f"given {_hash(described)[:12]}")


def _given_ids(library: ModuleType, described: bytes, spec: str, pieces: tuple[bytes, ...], data: bytes) -> Ids:
    """Ids of a text: cut at line ends where that changes nothing, else as one.

    Raises:
        UsageError: if the tokens do not give back the text.
    """
    import numpy as np

    tokenizer: Tokenizer = library.Tokenizer.from_str(described.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with one_thread():
        ids = _ids(tokenizer, pieces, data, GIVEN_CUT)
        if ids is not None:
            return ids
        # Some put a space before every text, which would stand at every cut: they get the whole text.
        whole = _encoded(tokenizer, data)
    back = b"".join([pieces[i] for i in whole])
    if back not in {data, b" " + data}:
        at = next((i for i, (a, b) in enumerate(zip(back, data, strict=False)) if a != b), min(len(back), len(data)))
        raise UsageError(
            f"tokenizer {spec!r} does not give back the text (first at byte {at:,}: {data[at : at + 12]!r} became "
            f"{back[at : at + 12]!r}), so bits per byte would be those of another text. Save the model with a tokenizer that "
            "keeps the text; where it is trained anew, use train.tokenizer=bytes or bpe."
        )
    return np.asarray(whole, dtype=dtype_of(len(pieces)))


def _ids(tokenizer: Tokenizer, pieces: tuple[bytes, ...], data: bytes, where: re.Pattern[bytes]) -> Ids | None:
    """Ids of a text, piece by piece; None if the tokens do not give back one of the pieces."""
    import numpy as np

    parts = []
    for piece in cut(data, where):
        ids = _encoded(tokenizer, piece)
        if b"".join([pieces[i] for i in ids]) != piece:
            return None
        parts.append(np.asarray(ids, dtype=dtype_of(len(pieces))))
    return np.concatenate(parts)


def _encoded(tokenizer: Tokenizer, data: bytes) -> list[int]:
    (encoding,) = tokenizer.encode_batch_fast([data.decode()], add_special_tokens=False)
    return list(encoding.ids)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file(ids: Ids) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, ids, allow_pickle=False)
    return file.getvalue()


def _sides(files: Mapping[str, bytes] | None, vocab_size: int) -> list[Ids] | None:
    """Ids of both sides from the files of a cache entry; None if there is none or it is not valid."""
    import numpy as np

    if files is None or not files.keys() >= set(SIDES):
        return None
    try:
        sides = [np.load(io.BytesIO(files[name]), allow_pickle=False) for name in SIDES]
    except (ValueError, EOFError):
        return None
    kind = dtype_of(vocab_size)
    whole = all(ids.ndim == 1 and ids.size and ids.dtype == kind and ids.max() < vocab_size for ids in sides)
    return sides if whole else None


def _tokens(sides: list[Ids], text: Text, pieces: tuple[bytes, ...], identity: str) -> Tokens:
    for ids in sides:
        ids.setflags(write=False)
    train, val = sides
    return Tokens(train, val, len(pieces), len(val) / len(text.val), pieces, identity)


def cut(data: bytes, where: re.Pattern[bytes]) -> Iterator[bytes]:
    """Cut text into pieces of about `PIECE_BYTES`, only at places that no token runs over."""
    start = 0
    while start < len(data):
        found = where.search(data, start + PIECE_BYTES)
        end = found.start() if found else len(data)
        yield data[start:end]
        start = end


def pieces_of(described: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The bytes of every id; empty where there is no such id.

    Raises:
        ValueError: for a tokenizer whose tokens are not pieces of the text.
    """
    model, kinds = described["model"], set(_types(described.get("decoder")))
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
    if "ByteLevel" in kinds:
        byte_of = byte_characters()

        def piece(token: str) -> bytes:
            return bytes(byte_of[c] for c in token) if byte_of.keys() >= set(token) else token.encode()

    elif kinds & {"ByteFallback", "Metaspace"}:

        def piece(token: str) -> bytes:
            byte = A_BYTE.fullmatch(token)
            return bytes([int(byte[1], 16)]) if byte else token.replace("\u2581", " ").encode()

    else:
        raise ValueError(f"its decoder is {', '.join(sorted(kinds)) or 'none'}, not byte-level or with byte fall-back")
    by_id = {number: piece(token) for token, number in vocabulary.items()}
    by_id |= {token["id"]: token["content"].encode() for token in described.get("added_tokens") or ()}
    return tuple(by_id.get(number, b"") for number in range(max(by_id) + 1))


def _types(decoder: object) -> Iterator[str]:
    """Names of a decoder and of those inside it."""
    if isinstance(decoder, Mapping):
        yield str(decoder.get("type"))
        for inner in decoder.get("decoders") or ():
            yield from _types(inner)


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
