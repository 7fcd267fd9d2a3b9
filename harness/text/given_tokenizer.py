"""A tokenizer that exists already, in the JSON format of the package `tokenizers`: that of a pretrained model.

Its tokens must give back the text byte by byte, or bits per byte would be those of another text. A tokenizer that lower-cases or
normalises is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modbench.harness.core import extras
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.model_sources import sourced
from modbench.harness.core.own_models import parse_spec
from modbench.harness.text import disk_cache

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

    from modbench.harness.text.tokens import Tokens

SIDES = ("train.npy", "val.npy")
# A line's end between visible characters: the patterns of GPT-2, Llama 3 and Qwen keep it with what stands before it, if with
# anything, and never with what follows. A text cut there has the tokens of the uncut one.
CUT = re.compile(rb"(?<=[!-~]\n)(?=[!-~])")
A_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def encode(text: Text, spec: str, vocab_size: int) -> Tokens:
    """Tokenize both sides of a corpus; kept in the cache folder.

    Args:
        text: both sides in UTF-8.
        spec: names the tokenizer, such as `hf:FOLDER`.
        vocab_size: the model's: every id must be below it.

    Raises:
        UsageError: if there is no such tokenizer, the model cannot hold its ids, or it loses text.
    """
    from modbench.harness.text.tokens import Tokens, dtype_of

    found = sourced(*parse_spec(spec))
    if found is None:
        raise UsageError(f"tokenizer {spec!r} is none. Write bytes, bpe, or hf:FOLDER for that of a model.")
    described = found.tokenizer_json()
    try:
        pieces = pieces_of(json.loads(described))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"tokenizer {spec!r} is damaged, or of a kind that is not read: {in_short(error)}.") from error
    if len(pieces) > vocab_size:
        raise UsageError(
            f"tokenizer {spec!r} has {len(pieces):,} tokens, which a model of vocab_size {vocab_size:,} cannot hold. Name the "
            f"tokenizer that stored weights were trained with; for other models set vocab_size={len(pieces)}."
        )
    library = extras.load("tokenizers", "hf", f"tokenizer {spec!r}")
    hashes = [hashlib.sha256(data).hexdigest() for data in (described, text.train, text.val)]
    key = ("given", "1", library.__version__, *hashes)
    sides = _read(disk_cache.load("tokens", key), dtype_of(len(pieces)))
    if sides is None:
        sides = [_ids(library, described, spec, pieces, data) for data in (text.train, text.val)]
        disk_cache.keep("tokens", key, {name: _file(ids) for name, ids in zip(SIDES, sides, strict=True)})
    train, val = sides
    for ids in sides:
        ids.setflags(write=False)
    return Tokens(train, val, len(pieces), len(val) / len(text.val), pieces, f"given {hashes[0][:12]}")


def _file(ids: npt.NDArray[np.unsignedinteger[Any]]) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, ids, allow_pickle=False)
    return file.getvalue()


def _read(files: Mapping[str, bytes] | None, kind: npt.DTypeLike) -> list[npt.NDArray[np.unsignedinteger[Any]]] | None:
    """Ids from the files of a cache entry; None if there is none or it is not valid."""
    import numpy as np

    if files is None or not files.keys() >= set(SIDES):
        return None
    try:
        sides = [np.load(io.BytesIO(files[name]), allow_pickle=False) for name in SIDES]
    except (ValueError, EOFError):
        return None
    return sides if all(ids.ndim == 1 and ids.size and ids.dtype == kind for ids in sides) else None


def _ids(
    library: ModuleType, described: bytes, spec: str, pieces: tuple[bytes, ...], data: bytes
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Ids of a text: cut at line ends where that changes nothing, else as one.

    Raises:
        UsageError: if the tokens do not give back the text.
    """
    import numpy as np

    from modbench.harness.text.tokens import cut, dtype_of, one_thread

    tokenizer: Tokenizer = library.Tokenizer.from_str(described.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encoded(part: bytes) -> list[int]:
        (encoding,) = tokenizer.encode_batch_fast([part.decode()], add_special_tokens=False)
        return list(encoding.ids)

    with one_thread():
        parts = []
        for part in cut(data, CUT):
            ids = encoded(part)
            if b"".join([pieces[i] for i in ids]) != part:
                break
            parts.append(np.asarray(ids, dtype=dtype_of(len(pieces))))
        else:
            return np.concatenate(parts)
        # Some put a space before every text, which would stand at every cut: they get the whole text.
        ids = encoded(data)
    back = b"".join([pieces[i] for i in ids])
    if back not in {data, b" " + data}:
        at = next((i for i, (a, b) in enumerate(zip(back, data, strict=False)) if a != b), min(len(back), len(data)))
        raise UsageError(
            f"tokenizer {spec!r} does not give back the text (first at byte {at:,}: {data[at : at + 12]!r} became "
            f"{back[at : at + 12]!r}), so bits per byte would be those of another text. Save the model with a tokenizer that "
            "keeps the text; where it is trained anew, use train.tokenizer=bytes or bpe."
        )
    return np.asarray(ids, dtype=dtype_of(len(pieces)))


def pieces_of(described: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The bytes of every id; empty where there is no such id.

    Raises:
        ValueError: for a tokenizer whose tokens are not pieces of the text.
    """
    from modbench.harness.text.tokens import byte_characters

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
