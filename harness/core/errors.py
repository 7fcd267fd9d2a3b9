"""Errors, each with the exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


# Characters of a message that are shown; a value of a damaged file may have millions.
MOST_SHOWN = 600


class ModbenchError(Exception):
    """The tool failed."""

    exit_code = 3

    def __str__(self) -> str:
        """The message, without the middle of what is too long to read: what would work stands at its end."""
        text = super().__str__()
        return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 2]} … {text[-MOST_SHOWN // 2 :]}"


class UsageError(ModbenchError, ValueError):
    """An impossible request: the message says what was asked, which rule it broke, and what would work."""

    exit_code = 2


class UnreadableError(UsageError):
    """A file of somebody else's that is not what it should be: it is damaged, of another format, or cannot be opened."""


class NothingMeasuredError(ModbenchError):
    """A run ended in which every cell failed or was skipped."""

    exit_code = 1


class IncompleteError(ModbenchError):
    """A run lacks the record of at least one job."""

    exit_code = 4


class UnfitError(ModbenchError):
    """The machine reports differences between identical models too often for its times to be used."""

    exit_code = 5


# Nobody reads a longer list: only the nearest names are shown.
MOST_NAMES = 16
# Least similarity of a path that is suggested: names of runs share their dates.
CUTOFF_OF_PATHS = 0.6


def shown(value: object, most: int = 60) -> str:
    """A value as Python writes it, cut to about `most` characters: a message is read by people."""
    if isinstance(value, str) and len(value) > most:
        return f"{value[: most - 20]!r}… ({len(value):,} characters)"
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def brief(message: str, most: int = 600) -> str:
    """A message without its middle, if it is so long that a value in it must be."""
    return message if len(message) <= most else f"{message[: 3 * most // 10]} […] {message[-most // 8 :]}"


# Characters of a name that are compared: comparing a long text with every name takes long.
MOST_COMPARED = 100


def nearest(asked: str, names: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The first of the names that begins as asked, else the most similar one; None if none is.

    Args:
        asked: what was typed.
        names: what there is.
        cutoff: the least similarity, from 0 to 1.
    """
    asked, known = asked[:MOST_COMPARED], list(names)
    begins = (name for name in known if asked and name.startswith(asked))
    return next(begins, None) or next(iter(difflib.get_close_matches(asked, known, n=1, cutoff=cutoff)), None)


def near_path(asked: str | Path, fits: Callable[[Path], bool], prefix: str = "") -> str:
    """The path that was probably meant, as the end of a message: ` Did you mean 'own.toml'?`; empty if none is similar.

    Args:
        asked: a path that does not exist, or is not what it should be.
        fits: whether a file or folder beside it could be meant. Of several that begin as asked the newest is named.
        prefix: what stands before a path where it is typed, such as `hf:`.
    """
    path = Path(asked)
    found = Path(path.anchor)
    try:
        for part in path.parts[1 if path.anchor else 0 : -1]:
            folder: str | None = part
            if not (found / part).is_dir():
                folder = nearest(part, (each.name for each in found.iterdir() if each.is_dir()), CUTOFF_OF_PATHS)
            if folder is None:
                return ""
            found /= folder
        beside = sorted(filter(fits, found.iterdir()), key=lambda each: -each.stat().st_mtime)
    except (OSError, ValueError):  # not a folder, not readable, too long or gone by now
        return ""
    # Compared without their endings, which make any two files of a kind similar.
    stems = {each.stem: each for each in reversed(beside) if each != path}
    meant = nearest(path.stem, reversed(stems), CUTOFF_OF_PATHS)
    return "" if meant is None else f" Did you mean {shown(f'{prefix}{stems[meant]}', 200)}?"


def unknown(kind: str, asked: object, known: Iterable[str]) -> UsageError:
    """Make the error for an unknown name, or for what is no name, with the nearest known one."""
    names, whole = sorted(known), asked
    asked = str(whole)[:MOST_COMPARED]
    near = nearest(asked, sorted(names, key=len))
    hint = f" Did you mean {near!r}?" if near else ""
    more, most = "", MOST_NAMES if asked == str(whole) else 4
    if len(names) > most:
        similar = sorted(names, key=lambda name: -difflib.SequenceMatcher(None, asked, name).ratio())[:most]
        names, more = sorted(similar), f" and {len(names) - most} more"
    return UsageError(f"unknown {kind} {shown(whole)}.{hint} Known: {', '.join(names) or 'none'}{more}.")


def in_short(error: BaseException, most: int = 160) -> str:
    """The text of an error on one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


class Unmeasured(Exception):  # noqa: N818  # not an error: a reason
    """Raised where a metric cannot be measured for a case; the text is the reason that is shown instead."""


class NumericsError(ArithmeticError):
    """A loss is not finite."""


def in_words(error: ValidationError, inside: str = "") -> str:
    """The first problem of a pydantic error as one line: the place (in a table), the problem and the value."""
    problems = error.errors()
    first = problems[0]
    # Of a key that takes one value or a list, pydantic names the kind that it tried, too; of a list, what is wrong in it counts.
    if isinstance(first["input"], list):
        first = next((each for each in problems if any(str(part).startswith("tuple[") for part in each["loc"])), first)
    parts = (*([inside] if inside else []), *map(str, first["loc"]))
    where = ".".join(part for part in parts if not part.startswith(("constrained-", "tuple["))) or "value"
    if first["type"] == "missing":
        return f"{where} is missing."
    message = first["msg"].removeprefix("Value error, ")
    got = first["input"]
    if first["type"] in {"int_parsing", "int_type"}:
        return f"{brief(where, 100)}: {shown(got)} is not a whole number."
    value = f" (got {shown(got)})" if isinstance(got, str | int | float | bool) else ""
    said = f"{brief(message, 300).removesuffix('.')}{value}."
    return said if first["type"] == "value_error" and not parts else f"{brief(where, 100)}: {said}"
