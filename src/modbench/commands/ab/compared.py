"""What the loop of `modbench ab` needs of two things that take turns. It knows neither suites nor commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from modbench.harness.core.errors import ModbenchError
from modbench.reports.questions.ab import Measured


class SideFailsError(ModbenchError):
    """The new side does not run: a finding. Where the base does not, that is a UsageError."""

    exit_code = 1


class Compared(Protocol):
    """Two things that take turns, block by block.

    A block is four processes, `ABBA` or `BAAB`: A is the base, B is new.
    """

    @property
    def sides(self) -> tuple[str, str]:
        """Both sides in words, the base first."""

    @property
    def folder(self) -> Path:
        """Where blocks and the plan are kept; it exists and is locked."""

    def prepare(self) -> None:
        """Do what is needed before the first block that is measured now.

        Raises:
            UsageError: if the base does not run.
            SideFailsError: if the new side does not.
        """

    def measure(self, number: int, order: str) -> None:
        """Measure a block and write its result atomically.

        Args:
            number: of the block, from 0.
            order: `ABBA` or `BAAB`.

        Raises:
            UsageError: if the base fails.
            SideFailsError: if the new side does, so that more blocks say no more.
            ModbenchError: if a file cannot be written.
        """

    def finished(self) -> int:
        """How many blocks are there, from the first on without a gap."""

    def rows(self) -> Sequence[Measured]:
        """The numbers of every case and metric over all finished blocks, in the order in which they are printed."""
