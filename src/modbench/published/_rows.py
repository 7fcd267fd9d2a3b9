"""What a file of published numbers exports: a `Source` with its `Row`s."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# Letters and signs after a printed number, and what they stand for.
SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "%": 0.01}
# Rounding to a tie goes either way: 15.625 is printed as 15.62 or as 15.63.
TIE = 1e-9
_PRINTED = re.compile(r"(?P<digits>[\d,]+)(?:\.(?P<decimals>\d+))?(?:E\+?(?P<power>-?\d+))?(?P<sign>[KMBT%]?)")


@dataclass(frozen=True)
class Printed:
    """A number as its source prints it, such as `46.7B`, `124,337,664`, `3.14E+23` or `25.2%`.

    Attributes:
        text: the number as printed.
        zeros: trailing zeros of a whole number that are there because it was rounded: 1 for `1,320` that means 1,315 to 1,325.
    """

    text: str
    zeros: int = 0

    @property
    def _parts(self) -> tuple[str, str, float]:
        found = _PRINTED.fullmatch(self.text)
        assert found, f"{self.text!r} is no printed number"
        scale = SCALES[found["sign"]] * 10.0 ** int(found["power"] or 0)
        return found["digits"].replace(",", ""), found["decimals"] or "", scale

    @property
    def value(self) -> float:
        """The number in base units."""
        digits, decimals, scale = self._parts
        return float(f"{digits}.{decimals or 0}") * scale

    @property
    def tolerance(self) -> float:
        """Half a unit in the last digit, in base units: the largest error of rounding."""
        _, decimals, scale = self._parts
        return float(0.5 * 10.0 ** (self.zeros - len(decimals)) * scale)

    def like(self, value: float) -> str:
        """Another number in this form, with two more digits if this one is rounded."""
        _, decimals, scale = self._parts
        found = _PRINTED.fullmatch(self.text)
        assert found
        if not decimals and not found["sign"] and not found["power"] and not self.zeros:
            return f"{value:,.0f}"
        power = f"E+{found['power']}" if found["power"] else ""
        return f"{value / scale:,.{len(decimals) + (0 if self.zeros else 2)}f}{power}{found['sign']}"


@dataclass(frozen=True)
class Row:
    """A published number, and ours.

    Attributes:
        what: the quantity, in a few words; unique in its source.
        where: where in the source it is printed.
        config: the configuration that it is for, and where that is printed, if elsewhere.
        printed: the published value.
        unit: its base unit: `parameters`, `FLOP`, `B`, `elements`, `days`, or empty for a ratio.
        ours: computes our value, in the same unit.
        convention: what is counted and how, so that ours is comparable; where it reproduces the number, this is the finding.
        form: which closed form computes ours: `catalogue` (that of our models), `catalogue and more` (with terms that our
            models lack), or `own` (a form of this room).
        why_not: why no convention of ours reproduces the number. Empty: one does, and beyond the tolerance `verify` fails.
        realised: where the published value is a measured gain and ours the ideal one: (ratio - 1) / (ideal - 1).
    """

    what: str
    where: str
    config: str
    printed: Printed
    unit: str
    ours: Callable[[], float]
    convention: str
    form: Literal["catalogue", "catalogue and more", "own"] = "catalogue"
    why_not: str = ""
    realised: float | None = None


@dataclass(frozen=True)
class Source:
    """A paper, page or repository.

    Attributes:
        title: its name.
        address: where it is found.
        rows: its numbers.
    """

    title: str
    address: str
    rows: tuple[Row, ...]
