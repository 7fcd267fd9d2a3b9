"""Why a number, its interval or a verdict is lacking: a code and numbers, of which `reports/reasons.py` makes words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, init=False)
class Reason:
    """A reason.

    Attributes:
        code: names its words; of a plug-in's reason it is these.
        given: what these name: numbers, a ratio with the ends of its interval, what somebody called something, other reasons.
    """

    code: str
    given: Mapping[str, Given] = field(hash=False)

    def __init__(self, code: str, /, **given: Given) -> None:
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "given", given)


Given: TypeAlias = float | str | tuple[float, float | None, float | None] | Reason


def both(one: Reason | None, other: Reason | None) -> Reason | None:
    """Return two reasons as one; None where there is neither."""
    return one or other if one is None or other is None else Reason("both", one=one, other=other)
