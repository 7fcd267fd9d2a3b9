"""Functions that users call from Python: their mistakes end in one line, raised where they called.

A wrong argument is a `UsageError` that says what would work, as it is of a command; and no `UsageError` shows the frames between
the user's line and the check that found the mistake, neither Python's traceback nor pytest's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from modbench.harness.core.errors import UsageError, unknown

P = ParamSpec("P")
R = TypeVar("R")
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def public(example: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function or method that users call; its signature and docstring stay.

    Args:
        example: a call that works, for messages; what stands before its bracket is the function's name.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True  # pytest leaves this frame out
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise _refusal(signature, example, args, kwargs, str(error)) from None
            try:
                return function(*args, **kwargs)
            except UsageError as error:
                raise error.with_traceback(None) from None

        return called

    return decorate


def _refusal(
    signature: inspect.Signature, example: str, args: Sequence[object], kwargs: Mapping[str, object], why: str
) -> UsageError:
    """The error for arguments that do not fit.

    Args:
        signature: of what was called.
        example: a call that works.
        args: as given; of a method its object is the first.
        kwargs: as given.
        why: what Python says.
    """
    name, instead = example.partition("(")[0], f"Write {example}."
    known = {key: each for key, each in signature.parameters.items() if key != "self"}
    of_object = len(signature.parameters) - len(known)
    for keyword in kwargs:
        if keyword not in known:
            return unknown(f"argument of {name}", keyword, known)
    ordered = [key for key, each in known.items() if each.kind in BY_POSITION]
    given = len(args) - of_object
    if given > len(ordered):
        takes = f"{len(ordered)} argument{'s' * (len(ordered) != 1)} by position, {' and '.join(ordered)}"
        return UsageError(f"{name} takes {takes}; got {given}. {instead}")
    missing = [key for key in ordered[given:] if key not in kwargs and known[key].default is inspect.Parameter.empty]
    if missing:
        return UsageError(f"{name} needs {' and '.join(missing)}. {instead}")
    return UsageError(f"{name}: {why}. {instead}")
