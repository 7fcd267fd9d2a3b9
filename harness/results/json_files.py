"""JSON files of a run folder: written whole, with a digest of their content, and read only as they were written.

A file begins with the SHA-256 of all that follows it. This digest finds damage: a bit that flipped, a file that was cut, an edit
by hand. It is no signature: whoever changes a file and makes the digest anew is not found.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import UnreadableError, in_short
from modbench.harness.core.plain_text import escaped_json

Parsed = TypeVar("Parsed", bound=BaseModel)
# How a file with a digest begins.
DIGEST = re.compile(rb'\{"digest":"([0-9a-f]{64})",')
ALTERED = "damaged: its content is not what was written"


class DamagedError(UnreadableError):
    """A file of a run folder that is not as a run writes it: one line that names the file and what is wrong."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}.")
        self.file, self.problem = file, problem


def seal(text: str) -> bytes:
    """The bytes of a file with its digest.

    Args:
        text: a JSON object that is not empty.
    """
    rest = escaped_json(text).lstrip()[1:].encode()
    return b'{"digest":"%s",%s' % (hashlib.sha256(rest).hexdigest().encode(), rest)


def write_sealed(file: Path, text: str) -> None:
    """Write a JSON object with its digest, whole or not at all."""
    write_atomically(file, seal(text))


def unsealed(file: Path) -> bytes:
    """The JSON of a file that was written with a digest, without it.

    Raises:
        DamagedError: if the file is not what was written.
    """
    content = _content(file)
    begins = DIGEST.match(content)
    if begins is None:
        _object(file, content)  # a file that was cut is no JSON, which says more
        raise DamagedError(file, ALTERED)
    rest = memoryview(content)[begins.end() :]
    if hashlib.sha256(rest).hexdigest().encode() != begins[1]:
        raise DamagedError(file, ALTERED)
    return b"{" + rest


def read_sealed(file: Path) -> dict[str, Any]:
    """The JSON object of a file that was written with a digest.

    Raises:
        DamagedError: if the file is not what was written.
    """
    return _object(file, unsealed(file))


def load(file: Path, content: bytes | None = None) -> dict[str, Any]:
    """The JSON object of a file without a digest.

    Args:
        file: the file.
        content: its content, where that was read already.

    Raises:
        DamagedError: if it holds none.
    """
    return _object(file, _content(file) if content is None else content)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except IsADirectoryError:
        raise DamagedError(file, "a folder, not a file") from None


def _object(file: Path, content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(file, f"not JSON: {in_short(error)}") from error
    if not isinstance(body, dict):
        raise DamagedError(file, "damaged: it holds no JSON object")
    return body


def parse(kind: type[Parsed], data: object, file: Path) -> Parsed:
    """Validate a file's content.

    Args:
        kind: the model.
        data: values, or bytes of JSON, whose types must then be those of the fields (strict).
        file: for messages.

    Raises:
        DamagedError: if it is not valid; the message names the first field that is wrong.
    """
    try:
        if isinstance(data, bytes):
            return kind.model_validate_json(data, strict=True)
        return kind.model_validate(data)
    except ValidationError as error:
        raise DamagedError(file, first_problem(error)) from error


def first_problem(error: ValidationError) -> str:
    """The first problem that pydantic found, with its field, on one line."""
    first = error.errors()[0]
    what = str(first["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    where = ".".join(map(str, first["loc"]))[:100] or "its start"
    return " ".join(f"damaged at {where}: {what}"[:400].split())
