"""Whether records belong to this run: not left over from an earlier one, and no launch a copy of another."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from modbench.harness.results.reading import DamagedError, Problem
from modbench.harness.results.records import Record

# Clocks of two hosts may differ, and a clock may be set back.
APART = dt.timedelta(hours=1)
# So many times are never equal by chance, on any clock.
LEAST_TIMES = 8


class Belonging:
    """Looks at the records of a run, one after the other.

    Args:
        started: when the run began, ISO 8601.
    """

    def __init__(self, started: object) -> None:
        self._started = _moment(started)
        self._times: dict[tuple[str, str, str, int], str] = {}

    def check(self, record: Record, file: Path) -> None:
        """Check the next record.

        Raises:
            DamagedError: if it cannot be of this run.
        """
        for problem in self._problems(record):
            raise DamagedError(file, problem)

    def _problems(self, record: Record) -> Iterator[Problem]:
        made = _moment(record.started)
        if made and self._started and made < self._started - APART:
            yield Problem(("started",), f"{record.started} is before this run began: a record of an earlier run")
        for i, outcome in enumerate(record.outcomes):
            times = outcome.samples.get("wall_s", [])
            if len(times) < LEAST_TIMES:
                continue
            key = (record.unit.series, outcome.case, outcome.metric, hash(tuple(times)))
            other = self._times.setdefault(key, record.unit.name)
            if other != record.unit.name:
                yield Problem(
                    ("outcomes", i, "samples", "wall_s"), f"the times of {other} once more: a copy, no launch"
                )


def _moment(told: object) -> dt.datetime | None:
    with contextlib.suppress(TypeError, ValueError):
        found = dt.datetime.fromisoformat(str(told))
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    return None
