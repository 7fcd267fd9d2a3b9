"""What the loop of `modbench ab` needs of two things that take turns. It knows neither suites nor commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modbench.extend import FailOn, Figure, ModbenchError, UsageError
from modbench.plugins.ab.question import Row


class SideFailsError(ModbenchError):
    """The new side does not run: a finding. Where the base does not, that is a UsageError."""

    exit_code = 1


def fails(why: str, *, new: bool) -> ModbenchError:
    """The error where a side does not run: of the new one a finding, of the base a mistake of the command."""
    return SideFailsError(why) if new else UsageError(f"the base fails, so that nothing can be compared: {why}")


@dataclass(frozen=True)
class Asked:
    """What is asked of a comparison.

    Attributes:
        margin: differences below this are of no practical interest.
        fail_on: the check of `--fail-on`; None: none.
        max_time_s: longest time to measure; None: no limit but the number of blocks.
        blocks: how many; None: as many as the time holds.
    """

    margin: float
    fail_on: FailOn | None = None
    max_time_s: float | None = None
    blocks: int | None = None


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

    @property
    def asked(self) -> Asked:
        """What is asked of the comparison."""

    @property
    def target(self) -> str:
        """The value that each run is to reach, in words; empty: none."""

    def prepare(self) -> None:
        """Do what is needed before the first block that is measured now.

        Raises:
            UsageError: if the base does not run.
            SideFailsError: if the new side does not.
        """

    def measure(self, number: int, order: str) -> None:
        """Measure a block and write its result atomically, under a name of `folder.block`.

        Args:
            number: of the block, from 0.
            order: `ABBA` or `BAAB`.

        Raises:
            UsageError: if the base fails.
            SideFailsError: if the new side does, so that more blocks say no more.
            ModbenchError: if a file cannot be written.
        """

    def drawn(self) -> Sequence[Figure]:
        """Figures of all finished blocks, for the HTML report."""

    def rows(self) -> Sequence[Row]:
        """The numbers of every case and metric over all finished blocks, in the order in which they are printed."""
