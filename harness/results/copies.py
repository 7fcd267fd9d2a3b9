"""Finds launches whose times are a copy of another launch's: they would count as evidence twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modbench.harness.results.reading import DamagedError, Problem
from modbench.harness.results.records import Record

# Clocks tick in nanoseconds: so many times of two launches are equal only if one was copied.
LEAST_TIMES = 8


class Copies:
    """Looks at the records of a run, one after the other."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, str, int], str] = {}

    def check(self, record: Record, file: Path) -> None:
        """Check the next record.

        Raises:
            DamagedError: if its times are those of an earlier one.
        """
        for problem in self._problems(record):
            raise DamagedError(file, problem)

    def _problems(self, record: Record) -> Iterator[Problem]:
        for i, outcome in enumerate(record.outcomes):
            times = outcome.samples.get("wall_s", [])
            if len(times) < LEAST_TIMES:
                continue
            key = (record.unit.series, outcome.case, outcome.metric, hash(tuple(times)))
            other = self._times.setdefault(key, record.unit.name)
            if other != record.unit.name:
                yield Problem(
                    ("outcomes", i, "samples", "wall_s"), f"the same times as in {other}: a copy, not a measurement"
                )
