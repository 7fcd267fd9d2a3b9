"""Values that may be None elsewhere, and are there in a test."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value; the test fails if it is None."""
    assert value is not None
    return value


def of_type(kind: type[T], value: object) -> T:
    """The value; the test fails if it is not of this type."""
    assert isinstance(value, kind)
    return value
