"""What was asked of a comparison: by its call, by a marker, on the command line, or in pytest's configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.errors import UsageError, shown, unknown

# Below this there is no interval.
FEWEST_ROUNDS = 6
KEYS = ("margin", "rounds", "against_margin")


@dataclass(frozen=True)
class Settings:
    """How a pair is measured and judged.

    Attributes:
        margin: the largest slowdown that does not matter, as a share.
        rounds: rounds of the measurement; None: as many as fit into a second for each callable.
        against_margin: the largest loss against stored sessions that does not matter, as a share.
    """

    margin: float = 0.02
    rounds: int | None = None
    against_margin: float = 0.02


def resolve(
    call: Mapping[str, Any], marker: Mapping[str, Any], ini: Mapping[str, Any], command_line: Mapping[str, Any]
) -> Settings:
    """Take each setting from the first place that has it: command line, call, marker, configuration.

    Args:
        call: keywords of the fixture's call; None: not given.
        marker: keywords of `@pytest.mark.modbench(…)`.
        ini: from pytest's configuration.
        command_line: options.

    Raises:
        UsageError: if the marker has another keyword, or a value is impossible.
    """
    for key in marker:
        if key not in KEYS:
            raise unknown("keyword in @pytest.mark.modbench", str(key), KEYS)
    places = (command_line, call, marker, ini)
    found = {key: next((place[key] for place in places if place.get(key) is not None), None) for key in KEYS}
    margin = 0.02 if found["margin"] is None else share("margin", found["margin"])
    against = found["against_margin"]
    return Settings(margin, _rounds(found["rounds"]), margin if against is None else share("against_margin", against))


def share(what: str, value: object) -> float:
    """A margin above 0.

    Raises:
        UsageError: if it is none.
    """
    number = _number(value)
    if number is None or not (0 < number < math.inf):
        raise UsageError(f"{what} = {shown(value)} is no share above 0. Write 0.02 for 2 %.")
    return number


def _rounds(value: object) -> int | None:
    number = None if value is None else _number(value)
    if value is not None and (number is None or number < FEWEST_ROUNDS or number % 1):
        raise UsageError(
            f"rounds = {shown(value)}: give a whole number from {FEWEST_ROUNDS} on; fewer give no interval."
        )
    return None if number is None else int(number)


def _number(value: object) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError):
        return None
