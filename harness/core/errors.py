"""What can go wrong, each with the exit code that the command line ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModbenchError(Exception):
    """The tool failed."""

    exit_code = 3


class UsageError(ModbenchError, ValueError):
    """The user asked for something that cannot be: says what was asked, which rule it broke, what would work."""

    exit_code = 2


class IncompleteError(ModbenchError):
    """A run lacks the record of at least one unit."""

    exit_code = 4


class UnfitError(ModbenchError):
    """This machine calls identical models different too often for its times to decide anything."""

    exit_code = 5


# A list that is longer than this is not read: the nearest names stand for it.
MOST_NAMES = 16


def unknown(kind: str, asked: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in the list, with the nearest name that is."""
    names = sorted(known)
    near = [name for name in names if asked and name.startswith(asked)]
    near = near or difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = ""
    if len(names) > MOST_NAMES:
        nearest = sorted(names, key=lambda name: -difflib.SequenceMatcher(None, asked, name).ratio())[:MOST_NAMES]
        names, more = sorted(nearest), f" and {len(names) - MOST_NAMES} more"
    return UsageError(f"unknown {kind} {asked!r}.{hint} Known: {', '.join(names)}{more}.")


def in_short(error: BaseException, most: int = 160) -> str:
    """The text of an error on one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


class Unmeasured(Exception):  # noqa: N818  # not an error: a reason
    """Raised by a metric that cannot be had for this case; the text is the reason that stands in its place."""


class NumericsError(ArithmeticError):
    """A loss is not finite."""
