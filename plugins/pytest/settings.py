"""The settings of a comparison: from its call, a marker, the command line, or pytest's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modbench.extend import UsageError, shown, units, unknown

# Below this there is no interval.
FEWEST_ROUNDS = 6
KEYS = ("margin", "rounds", "threads")


@dataclass(frozen=True)
class Settings:
    """Settings for measuring and judging a pair.

    Attributes:
        margin: the largest slowdown that does not matter, as a share.
        rounds: rounds of the measurement; None: as many as fit into a second for each callable.
        threads: torch's threads while both are timed; None: as many as it has.
    """

    margin: float = 0.02
    rounds: int | None = None
    threads: int | None = None


def resolve(
    call: Mapping[str, Any], marker: Mapping[str, Any], ini: Mapping[str, Any], command_line: Mapping[str, Any]
) -> Settings:
    """Take each setting from the first place that has it: command line, call, marker, configuration.

    Raises:
        UsageError: if the marker has another keyword, or a value is impossible.
    """
    for key in marker:
        if key not in KEYS:
            raise unknown("keyword in @pytest.mark.modbench", str(key), KEYS)
    grid_points = (command_line, call, marker, ini)
    found = {
        key: next((grid_point[key] for grid_point in grid_points if grid_point.get(key) is not None), None)
        for key in KEYS
    }
    rounds, threads = _whole_number(found, "rounds", FEWEST_ROUNDS), _whole_number(found, "threads", 1)
    return Settings(_margin(found["margin"]), rounds, threads)


def _margin(value: object) -> float:
    """A margin; in pytest's configuration it is text."""
    if value is None:
        return Settings.margin
    return units.margin(value, asked=f"margin = {shown(value)}")


def _whole_number(found: Mapping[str, Any], key: str, least: int) -> int | None:
    value = found[key]
    number = None if value is None else _number(value)
    if value is not None and (number is None or number < least or number % 1):
        why = "; fewer give no interval" if key == "rounds" else ""
        raise UsageError(f"{key} = {shown(value)}: give a whole number from {least} on{why}.")
    return None if number is None else int(number)


def _number(value: object) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError):
        return None
