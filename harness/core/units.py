"""Units of stored values, and how they are shown to people."""

from __future__ import annotations

import math
from typing import Literal

Unit = Literal["s", "B", "FLOP", "J", "nat", "bit/B", "ratio", "token/s", "token", "count"]

_SCALES: dict[str, list[tuple[float, str]]] = {
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
    "B": [(2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")],
    "J": [(1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")],
    "token/s": [(1e6, "M tokens/s"), (1e3, "k tokens/s"), (1.0, "tokens/s")],
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
_NAMES = {"nat": "nats", "bit/B": "bits/byte", "count": "", "token": "tokens"}


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
    return f"{three_digits(value / factor)} {name}"


def human_duration(seconds: float) -> str:
    """Format whole seconds as `4 min 12 s`; from two hours on as `2 h 05 min`, from a hundred hours on as `1,192 days`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    if minutes >= 6000:
        return f"{round(seconds / 86_400):,} days"
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
