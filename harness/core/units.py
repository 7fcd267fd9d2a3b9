"""Units of stored values, and how they are shown to people."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from modbench.harness.core.errors import UsageError, shown

if TYPE_CHECKING:
    from fractions import Fraction

# `ratio` is shown in per cent; `1` is a plain number; a `count` is a whole one.
Unit = Literal["s", "B", "FLOP", "J", "nat", "bit/B", "ratio", "token/s", "token", "count", "1"]


@dataclass(frozen=True)
class Range:
    """Values that a quantity can have. Its ends are far beyond what is ever measured: they show damage, not surprise.

    Attributes:
        least: the smallest.
        most: the largest.
        above: whether it must be larger than `least`, not equal to it.
        whole: whether it is a whole number.
    """

    least: float = -1e39  # losses are computed in fp32, which ends at 3.4e38
    most: float = 1e39
    above: bool = False
    whole: bool = False

    def lacks(self, value: float) -> str | None:
        """Say why the value cannot be one of this quantity; None if it can."""
        if not math.isfinite(value):
            return f"{value} is not a finite number"
        if value < self.least or value > self.most or (self.above and value == self.least):
            low = f"above {self.least:g}" if self.above else f"at least {self.least:g}"
            return f"{value:g} is not {low}" if value <= self.least else f"{value:g} is over {self.most:g}"
        return f"{value!r} is not a whole number" if self.whole and value != int(value) else None


TIME = Range(0, 1e9, above=True)
SECONDS = Range(0, 1e9)
COUNT = Range(0, 1e18, whole=True)
SHARE = Range(0, 1)
# What a value in this unit can be, unless its metric says otherwise.
RANGES: dict[str, Range] = {
    "s": TIME,
    "B": Range(0, 1e18),
    "FLOP": Range(0, 1e36),
    "J": Range(0, 1e15, above=True),
    "bit/B": Range(0),
    "token/s": Range(0, above=True),
    "token": Range(1, 1e18, whole=True),
    "count": COUNT,
}

_SCALES: dict[str, list[tuple[float, str]]] = {
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
    "B": [(2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")],
    "J": [(1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")],
    "token/s": [(1e6, "M tokens/s"), (1e3, "k tokens/s"), (1.0, "tokens/s")],
    "param": [(1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, "")],
    "FLOP": [
        (1e21, "ZFLOP"),
        (1e18, "EFLOP"),
        (1e15, "PFLOP"),
        (1e12, "TFLOP"),
        (1e9, "GFLOP"),
        (1e6, "MFLOP"),
        (1e3, "kFLOP"),
        (1.0, "FLOP"),
    ],
}
# Ten years: more is a mistake, and too much for the timers of some systems.
MOST_S = 10 * 365 * 86_400.0
_NAMES = {"nat": "nats", "bit/B": "bits/byte", "count": "", "1": "", "token": "tokens"}


# Threads that torch is asked for: far more take all memory, and nothing can be started afterwards.
MOST_THREADS = 4096


def three_digits(value: float) -> str:
    """Format `value` with three significant digits, never in exponent form."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def scale_of(value: float, unit: str) -> tuple[float, str]:
    """Find the unit to show `value` in, as its factor and name: 0.0123 s is shown in ms."""
    for factor, name in _SCALES.get(unit, []):
        if abs(value) >= factor:
            return factor, name
    return _SCALES[unit][-1] if unit in _SCALES else (1.0, _NAMES.get(unit, unit))


def human(value: float | None, unit: str) -> str:
    """Format `value`, given in base unit `unit`: `human(0.0123, "s") == "12.3 ms"`."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "count":
        return f"{value:g}"
    if unit == "ratio":  # a percentage: beside speed-ups in × a plain number would look like one
        return f"{value:.1%}"
    factor, name = scale_of(value, unit)
    return f"{three_digits(value / factor)} {name}".rstrip()


def per_cent(share: float, decimals: int = 1, sign: str = "") -> str:
    """A share in per cent, without the sign of per cent; one that would look like 0 has one digit."""
    least = 10.0 ** -(2 + decimals)
    return f"{100 * share:{sign}.1g}" if 0 < abs(share) < least else f"{100 * share:{sign}.{decimals}f}"


def percent(share: float, decimals: int = 1, sign: str = "") -> str:
    """A share in words: `3.1 %`, `2 %`; with a sign `+2.0 %`."""
    said = per_cent(share, decimals, sign)
    return f"{said if sign else said.removesuffix('.' + '0' * decimals)} %"


def about(share: float) -> str:
    """A share whose decimals say nothing: `53 %`."""
    return f"{100 * share:.0f} %"


def counted(number: int, what: str) -> str:
    """A number with its noun: `1 unit`, `2 units`."""
    return f"{number} {what}{'s' * (number != 1)}"


def human_duration(seconds: float) -> str:
    """Format whole seconds as `4 min 12 s`; from two hours on as `2 h 05 min`, from a hundred hours on as `1,192 days`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    if minutes >= 6000:
        return f"{round(seconds / 86_400):,} days"
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def human_span(least_s: float, most_s: float) -> str:
    """Format a range of seconds in the unit of its end: `25 to 99 min`, `up to 8.6 h`; one duration if both ends read alike."""
    unit, seconds, decimals = ("s", 1, 0) if most_s < 120 else ("min", 60, 0) if most_s < 7200 else ("h", 3600, 1)
    least, most = (f"{value / seconds:,.{decimals}f}" for value in (least_s, most_s))
    if least == most:
        return human_duration(least_s)
    return f"{least} to {most} {unit}" if float(least.replace(",", "")) else f"up to {most} {unit}"


_DURATIONS = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
}


def parse_duration(text: str, flag: str, such_as: str = "90s, 10min or 2h") -> float:
    """Read a duration such as `50ms`, `90s`, `10min`, `2h` or `1.5h`, in s.

    Args:
        text: as typed.
        flag: for the message.
        such_as: examples for the message.

    Raises:
        UsageError: if it is no positive duration with a unit.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]+)\s*", text)
    seconds = float(found[1]) * _DURATIONS.get(found[2], math.nan) if found else math.nan
    if not 0 < seconds <= MOST_S:
        raise UsageError(f"{flag} {text[:40]!r} is no duration: give a number with a unit, such as {such_as}.")
    return seconds


# A share as people write it: 0.06, 6% or 6 %.
_SHARE = r"(?a:(-?(?:[0-9]{1,9}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}))(\s*%)?)"
_SIZES = {"b": 1.0} | {
    f"{letter}{unit}": float(base) ** power
    for unit, base in (("ib", 1024), ("b", 1000))
    for power, letter in enumerate("kmgt", start=1)
}
MOST_BYTES = 1e18


def parse_bytes(text: str, flag: str) -> float:
    """Read a size such as `4GiB` (2^30 bytes each) or `500MB` (10^6 bytes each), in B.

    Raises:
        UsageError: if it is no positive size with a unit.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*", text, flags=re.IGNORECASE | re.ASCII)
    size = float(found[1]) * _SIZES.get(found[2].lower(), math.nan) if found else math.nan
    if not 0 < size <= MOST_BYTES:
        raise UsageError(f"{flag} {text[:40]!r} is no size: give a number with a unit, such as 4GiB or 500MB.")
    return size


def plain_share(value: object) -> object:
    """A share as a number, where it is text such as `0.06`, `6%` or `6 %`; anything else is left for others to refuse."""
    found = re.fullmatch(_SHARE, value.strip()) if isinstance(value, str) else None
    return value if found is None else float(_exact(found))


def _exact(found: re.Match[str]) -> Fraction:
    """The share that was found, exactly."""
    from fractions import Fraction  # loads decimal, which few commands need

    return Fraction(found[1]) / (100 if found[2] else 1)


def share(text: str | float) -> float:
    """A share that a command line or Python gives, as a number.

    Raises:
        ValueError: if it is none.
    """
    return float(plain_share(text))  # type: ignore[arg-type]  # it raises for what is no number


def margin(value: object, *, asked: str = "") -> float:
    """Check a margin, the largest difference that does not matter: a share above 0 and below 1.

    Every place that takes one comes here: meant as 5 %, a margin of 5 would let five times slower code pass.

    Args:
        value: what was given.
        asked: what was asked, for the message: the place and the value as they were written.

    Raises:
        UsageError: if it is no such share.
    """
    value = plain_share(value)
    # Not yet a float: a whole number may be too large for one.
    number: Any = math.nan if isinstance(value, bool) or not isinstance(value, Real) else value
    if not 0 < number < 1:
        raise UsageError(f"{asked} is no share above 0 and below 1: 0.05 is 5 %.".strip())
    return float(number)


def check_capacity(capacity: object) -> None:
    """Check that a capacity is a share of tokens; None is none.

    Raises:
        UsageError: for a capacity outside (0, 1].
    """
    if capacity is None:
        return
    number = capacity if isinstance(capacity, int | float) and not isinstance(capacity, bool) else None
    if number is None or not 0 < number <= 1:
        near = f" Did you mean {number / 100:g}?" if number is not None and 1 < number <= 100 else ""
        raise UsageError(
            f"capacity {capacity!r} is outside (0, 1]: it is the share of tokens that a routed block processes.{near}"
        )


def check_seed(seed: object) -> None:
    """Check that a seed is one that every generator takes.

    Raises:
        UsageError: if it is no whole number of at least 0 and below 2^63.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UsageError(f"{seed!r} is not a seed: seeds are whole numbers of at least 0 and below 2^63")


def parse_share(text: str, flag: str) -> Fraction:
    """Read a share such as `0.02`, `2%` or `0.5 %`, from 0 to below 1, exactly.

    Raises:
        UsageError: if it is negative, 1 or more, or no plain number.
    """
    asked = f"{flag} {shown(text)}"
    found = re.fullmatch(_SHARE, text.strip())
    if found is None:
        raise UsageError(f"{asked} is no share: write it as 0.02 or as 2%.")
    if found[1].startswith("-"):
        raise UsageError(f"{asked} is negative: give a share from 0 to below 1, such as 0.02 or 2%.")
    number = _exact(found)
    if number >= 1 and not found[2]:
        raise UsageError(f"{asked} is no share below 1: {found[1]} per cent is {found[1]}%.")
    if number:
        margin(float(number), asked=asked)
    return number
