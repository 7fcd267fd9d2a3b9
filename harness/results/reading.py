"""Reads the JSON files of a run folder. They may be damaged, or a stranger's: what no run can have written is refused.

A file that holds a number that is not finite, a key twice or a nest of a hundred lists is refused with its name and the field,
before anything is computed from it. What a record must say beyond that is in `record_checks.py`.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from modbench.harness.core.errors import UnreadableError, in_short
from modbench.harness.core.problems import MOST_WHOLE, Path_, Problem, shown

Parsed = TypeVar("Parsed", bound=BaseModel)
# The smallest number that a float holds with all its digits: anything less, but 0, is damage, and one over it is infinite.
LEAST = sys.float_info.min
SCALARS = {str, int, float, bool, type(None)}
# A run writes some 15 tables in each other. What is far deeper would stop whoever reads or copies it.
MOST_NESTED = 100


class DamagedError(UnreadableError):
    """A file of a run folder that is not as a run writes it: one line that names the file and the field."""

    def __init__(self, file: Path, problem: Problem | str) -> None:
        super().__init__(f"{file}: {problem}.")
        self.file, self.problem = file, str(problem)


def load(file: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read a file that holds one JSON object of finite numbers.

    Args:
        file: the file.
        content: what of its content is to be read; None: all.

    Raises:
        DamagedError: if it does not.
    """
    try:
        body = json.loads(file.read_bytes() if content is None else content, object_pairs_hook=_once)
    except IsADirectoryError:
        raise DamagedError(file, "a folder, not a file") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(file, f"not JSON: {in_short(error)}") from error
    if not isinstance(body, dict):
        raise DamagedError(file, "damaged: it holds no JSON object")
    for problem in unusable(body):
        raise DamagedError(file, problem)
    return body


def has_values(run: Path) -> bool:
    """Whether a record of a run holds a value; what is damaged holds none."""
    for file in sorted((run / "units").rglob("*.json")):
        try:
            outcomes = load(file).get("outcomes")
        except DamagedError:
            continue
        if isinstance(outcomes, list) and any(
            isinstance(each, dict) and each.get("status") == "ok" for each in outcomes
        ):
            return True
    return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of a key that is there twice nobody knows which value is true."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the key {shown(twice)} is there twice")
    return made


def unusable(body: dict[str, Any]) -> Iterator[Problem]:
    """Yield values that no run writes: numbers not finite, too small or beyond 2^63, text not Unicode, deep nests."""
    if _usable(body):
        return
    waiting: list[tuple[Path_, Any]] = [((), body)]
    while waiting:
        place, value = waiting.pop()
        if len(place) >= MOST_NESTED and isinstance(value, dict | list):
            yield Problem(place[:3], f"more than {MOST_NESTED} tables or lists in each other")
        elif isinstance(value, dict):
            bad = next((key for key in value if not _is_text(key)), None)
            if bad is not None:
                yield Problem(place, f"the name {shown(bad)} is not Unicode text")
            waiting += (((*place, key), item) for key, item in value.items())
        elif isinstance(value, list):
            if not _all_finite(value):
                waiting += (((*place, i), item) for i, item in enumerate(value))
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(place, f"{value} is not a finite number")
        elif isinstance(value, float) and 0 < abs(value) < LEAST:
            yield Problem(place, f"{value} is too small to be measured")
        elif isinstance(value, int) and not -MOST_WHOLE <= value < MOST_WHOLE:
            yield Problem(place, f"{shown(value)}")
        elif isinstance(value, str) and not _is_text(value):
            yield Problem(place, "not Unicode text")


def _usable(value: object, levels: int = MOST_NESTED) -> bool:
    """Whether all is usable, without the place of what is not: of a thousand files nearly all are, and this is fast."""
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, float):
        return math.isfinite(value) and not 0 < abs(value) < LEAST
    if isinstance(value, int):
        return -MOST_WHOLE <= value < MOST_WHOLE
    if isinstance(value, list):
        return levels > 0 and (_all_finite(value) or all(map(_usable, value, itertools.repeat(levels - 1))))
    if not isinstance(value, dict):
        return True
    return levels > 0 and all(map(_is_text, value)) and all(map(_usable, value.values(), itertools.repeat(levels - 1)))


def _all_finite(values: list[Any]) -> bool:
    """Whether a list holds nothing but finite numbers: nearly all of a file is samples, and this is fast."""
    if not {*map(type, values)} <= {int, float}:
        return False
    try:
        if not all(map(math.isfinite, values)) or min(map(abs, filter(None, values)), default=1) < LEAST:
            return False
        return not values or (min(values) >= -MOST_WHOLE and max(values) < 1e308)
    except OverflowError:  # a whole number that no float holds
        return False


def _is_text(value: str) -> bool:
    """Whether it can be written: half of a surrogate pair cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse(kind: type[Parsed], data: object, file: Path) -> Parsed:
    """Validate a file's content.

    Raises:
        DamagedError: if it is not valid; the message names the first field that is wrong.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise DamagedError(file, first_problem(error)) from error


def first_problem(error: ValidationError) -> Problem:
    """The first problem that pydantic found."""
    first = error.errors()[0]
    what = str(first["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return Problem(first["loc"] or ("its start",), what if len(what) <= 300 else f"{what[:300]}…")


def retyped(raw: object, parsed: object, place: Path_) -> Iterator[Problem]:
    """Yield fields whose JSON type is not that of the value which was read: pydantic takes `true` for 1, and `"5"` for 5."""
    if isinstance(parsed, BaseModel) and isinstance(raw, dict):
        for name, value in raw.items():
            if type(now := getattr(parsed, name, value)) is not type(value) or type(value) not in SCALARS:
                yield from retyped(value, now, (*place, name))
    elif isinstance(parsed, dict) and isinstance(raw, dict):
        for name, value in raw.items():
            if type(now := parsed.get(name, value)) is not type(value) or type(value) not in SCALARS:
                yield from retyped(value, now, (*place, name))
    elif isinstance(parsed, list | tuple) and isinstance(raw, list):
        kinds, read = {*map(type, raw)}, {*map(type, parsed)}
        if kinds | read <= {int, float} or kinds == read == {str}:  # samples, and nearly all else
            return
        for i, (one, other) in enumerate(zip(raw, parsed, strict=False)):
            yield from retyped(one, other, (*place, i))
    elif isinstance(raw, bool) != isinstance(parsed, bool) or isinstance(raw, str) != isinstance(parsed, str):
        yield Problem(place, f"{shown(raw)} is not of the type that belongs here")
