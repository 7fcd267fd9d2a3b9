"""Remembers what was computed from samples that do not change, while one comparison of a report is worked on.

Several statistics of an arm start from the same block effects: of each pair, of the drift, of the doubts. Results are found by
the identity of the samples, so that only samples of records may be remembered, never those of a session that is still measuring.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

# Function and identities of its arguments to the arguments, which stay alive, and the result; None: nothing is remembered.
_KNOWN: dict[tuple[Any, ...], tuple[Any, Any]] | None = None


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Remember results in the `with` block; forget them at its end."""
    global _KNOWN  # noqa: PLW0603  # one report is made at a time
    before, _KNOWN = _KNOWN, {}
    try:
        yield
    finally:
        _KNOWN = before


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function of samples remember its results where `remembering` is on. Its results must not be changed."""

    @functools.wraps(function)
    def found(*args: P.args, **named: P.kwargs) -> T:
        if _KNOWN is None:
            return function(*args, **named)
        # Strings by value: equal ones may be different objects.
        given = (*args, *named.values()) if named else args
        key = (function, *[each if type(each) is str else id(each) for each in given])
        known = _KNOWN.get(key)
        if known is None:
            known = _KNOWN[key] = ((args, named), function(*args, **named))
        return cast(T, known[1])

    return found
