"""Lets the records of a run share what they have in common: a report of 20,000 launches would not fit into 1 GiB otherwise."""

from __future__ import annotations

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.notes.timing import TimeNotes
from modbench.harness.domain.records import Record

# Columns of whole numbers that differ from launch to launch: their numbers are shared, the columns are not.
IN_RANDOM_ORDER = ("block", "position")


class Interner:
    """Columns, numbers and notes that were read before. Nobody changes what was read."""

    def __init__(self) -> None:
        self._columns: dict[tuple[float, ...], list[float]] = {}
        self._numbers: dict[float, float] = {}
        self._notes: dict[Notes, Notes] = {}
        self._code: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._given: dict[frozenset[str], set[str]] = {}

    def of(self, record: Record, unit: UnitOfWork) -> Record:
        """The record, with parts in it replaced by equal ones that were read before.

        Args:
            record: as read.
            unit: the planned unit, to which the record's is equal.
        """
        record.__dict__["unit"] = unit
        if record.code is not None:
            record.__dict__["code"] = self._code.setdefault(tuple(record.code.items()), record.code)
        for outcome in record.outcomes:
            # Which fields its file gave: 700 bytes for each outcome.
            given = outcome.__pydantic_fields_set__
            object.__setattr__(outcome, "__pydantic_fields_set__", self._given.setdefault(frozenset(given), given))
            for name, values in outcome.samples.items():
                if not values or not values[0].is_integer():
                    continue
                if name in IN_RANDOM_ORDER:
                    values[:] = [self._numbers.setdefault(value, value) for value in values]
                else:  # rounds, calls, inputs, and witnesses that saw nothing
                    outcome.samples[name] = self._columns.setdefault(tuple(values), values)
            if type(outcome.notes) is TimeNotes:
                outcome.__dict__["notes"] = self._notes.setdefault(outcome.notes, outcome.notes)
        return record
