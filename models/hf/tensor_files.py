"""Headers of weight files: whether a safetensors or GGUF file is whole, and what a GGUF says.

The library `gguf` keeps an array for each word of a vocabulary (17 s and 0.6 GB for 128,256 words and their merges, where this
takes 0.3 s and nothing), and follows a damaged length without end.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modbench.harness.core import extras
from modbench.harness.core.errors import UnreadableError, UsageError, in_short

if TYPE_CHECKING:
    from modbench.models.hf.spec import Spec

# Far above what any text holds: a damaged length must not become a wait.
MOST_STRING = 1 << 24
# What reading a damaged header raises.
BROKEN = (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError, RecursionError)
# GGUF's types of single values, by number, as `struct` calls them.
SINGLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


def shards(spec: Spec, index: Path) -> tuple[Path, ...]:
    """The files that an index of weights names.

    Raises:
        UsageError: if it cannot be read, or one is missing.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except BROKEN as error:
        raise UnreadableError(f"model '{spec}': {index.name} is damaged: {in_short(error)}.") from error
    for name in names:
        if not isinstance(name, str) or "/" in name or not (index.parent / name).is_file():
            raise UsageError(f"model '{spec}': {index.name} names {name!r}, which is not in {str(index.parent)!r}.")
    return tuple(index.parent / name for name in names)


def check_safetensors(spec: Spec, file: Path) -> None:
    """Check that a file's header is sound and names each of its bytes; tensors are not read.

    Raises:
        UsageError: if it is damaged or cannot be read.
    """
    library = extras.load("safetensors", "hf", f"model '{spec}'")
    try:
        library.safe_open(file, framework="np")
    except (OSError, library.SafetensorError) as error:
        raise _damaged(spec, file, in_short(error)) from error


def _damaged(spec: Spec, file: Path, why: str) -> UsageError:
    return UnreadableError(f"model '{spec}': {file.name} is damaged: {why}. Fetch or save it again.")


@dataclass(frozen=True)
class Gguf:
    """What a GGUF file says of itself.

    Attributes:
        values: single values by key.
        lengths: lengths of arrays by key.
        tensors: names of tensors.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: frozenset[str] = frozenset()

    def of_model(self, key: str) -> Any:  # noqa: ANN401  # as its type says
        """A value about the architecture, such as `block_count`; None if there is none."""
        return self.values.get(f"{self.values.get('general.architecture')}.{key}")


def read_gguf(spec: Spec, file: Path) -> Gguf:
    """Read the header of a GGUF file (github.com/ggml-org/ggml, docs/gguf.md; versions 2 and 3).

    Raises:
        UsageError: if it is damaged or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return _header(stream, file.stat().st_size)
    except BROKEN as error:
        raise _damaged(spec, file, in_short(error)) from error


def _header(stream: IO[bytes], size: int) -> Gguf:
    magic, version, tensors, keys = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF" or version not in {2, 3}:
        raise ValueError("it does not begin as GGUF 2 or 3 does")
    found = Gguf()
    for _ in range(keys):
        key = _string(stream)
        kind = _one(stream, "I")
        if kind == ARRAY:
            found.lengths[key] = _skip_array(stream)
        else:
            found.values[key] = _string(stream) if kind == STRING else _one(stream, SINGLE[kind])
    names, last = [], 0
    for _ in range(tensors):
        names.append(_string(stream))
        for _ in range(_one(stream, "I")):
            _one(stream, "Q")
        _one(stream, "I")
        last = max(last, _one(stream, "Q"))
    if stream.tell() + last >= size:
        raise ValueError("it ends before its last tensor")
    return Gguf(found.values, found.lengths, frozenset(names))


def _one(stream: IO[bytes], kind: str) -> Any:  # noqa: ANN401  # as the type says
    return struct.unpack(f"<{kind}", stream.read(struct.calcsize(f"<{kind}")))[0]


def _string(stream: IO[bytes]) -> str:
    length = _one(stream, "Q")
    if length > MOST_STRING:
        raise ValueError("a text has no end")
    return stream.read(length).decode(errors="replace")


def _skip_array(stream: IO[bytes]) -> int:
    """Skip an array; its length."""
    kind, length = _one(stream, "I"), _one(stream, "Q")
    if kind in SINGLE:
        stream.seek(length * struct.calcsize(f"<{SINGLE[kind]}"), 1)
        return int(length)
    if kind != STRING:
        raise ValueError(f"an array holds type {kind}")
    for _ in range(length):
        stream.seek(_one(stream, "Q"), 1)
    return int(length)
