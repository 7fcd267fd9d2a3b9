"""Fields of public dataclasses by the names that they had in the last release: a user's files may use them for one more."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def accepts_old_names(**new_names: str) -> Callable[[type[T]], type[T]]:
    """Let a dataclass also be made with, and read by, the old names of its fields, with a warning.

    Args:
        **new_names: the present name of each field, by its old one.
    """

    def decorated(cls: type[T]) -> type[T]:
        initialise = cls.__init__

        @functools.wraps(initialise)
        def __init__(self: T, *values: object, **fields: object) -> None:  # noqa: N807  # it replaces that of the dataclass
            for old in new_names.keys() & fields.keys():
                _warn(cls, old, new_names[old])
                fields[new_names[old]] = fields.pop(old)
            initialise(self, *values, **fields)

        cls.__init__ = __init__  # type: ignore[assignment]  # takes more keywords
        for old, new in new_names.items():
            setattr(cls, old, property(functools.partial(_read, old=old, new=new)))
        return cls

    return decorated


def _read(instance: object, *, old: str, new: str) -> Any:  # noqa: ANN401  # of whatever type the field has
    _warn(type(instance), old, new)
    return getattr(instance, new)


def _warn(cls: type, old: str, new: str) -> None:
    warnings.warn(f"{cls.__name__}.{old} is named {new} now.", DeprecationWarning, stacklevel=3)
