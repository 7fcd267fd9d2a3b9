"""Live progress: a bar with units done and time left on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

from modbench.harness.core.units import human_duration
from modbench.harness.execution.runner import phases
from modbench.harness.machine.environment import usable_cores
from modbench.harness.planning.plan import Plan, predicted_seconds
from modbench.harness.results.workspace import Workspace

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from modbench.harness.core.case import UnitOfWork
    from modbench.harness.results.run_folder import RunFolder


class Clockwork:
    """Time left: the plan's prediction, scaled by how wrong it has been so far."""

    def __init__(self, plan: Plan) -> None:
        self.predicted = {
            unit.name: predicted_seconds(plan, unit, slots.at_once)
            for slots in phases(plan, usable_cores())
            for unit in slots.units
        }
        self.total = sum(self.predicted.values())
        self.done = 0.0
        self.units_done = 0
        self.start = time.monotonic()

    def ended(self, unit: UnitOfWork) -> None:
        """Count a unit as done."""
        self.done += self.predicted[unit.name]
        self.units_done += 1

    @property
    def left_s(self) -> float:
        """Seconds left."""
        elapsed = time.monotonic() - self.start
        # Until a twentieth is done the prediction alone is the better guess.
        scale = elapsed / self.done if self.done > 0.05 * self.total else 1.0
        return max(0.0, (self.total - self.done) * scale)


class Lines:
    """One line per finished unit."""

    def __init__(self, plan: Plan, stream: TextIO | None = None) -> None:
        self.clockwork, self.stream = Clockwork(plan), stream or sys.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to tidy."""

    def started(self, unit: UnitOfWork) -> None:
        """Silent: the line comes when the unit is done."""

    def tick(self) -> None:
        """Silent."""

    def ended(self, unit: UnitOfWork) -> None:
        """`[12/34] time-forward-T128-B1-fp32-cpu1-launch0, 3 min 02 s left`."""
        self.clockwork.ended(unit)
        clock = self.clockwork
        left = human_duration(clock.left_s)
        with contextlib.suppress(OSError):  # a reader that went away must not end a measurement
            print(f"[{clock.units_done}/{len(clock.predicted)}] {unit.name}, {left} left", file=self.stream, flush=True)


class Live:
    """A progress bar that names what runs."""

    def __init__(self, plan: Plan, folder: RunFolder | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        # What runs gives way first: on a narrow terminal its name is cut, the bar and the time left stay whole.
        names = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        whole, clock = Column(no_wrap=True), Column(no_wrap=True)

        self.clockwork, self.folder = Clockwork(plan), folder
        self.running: list[str] = []
        self.bar: Bar = Progress(
            BarColumn(16),
            TextColumn("{task.fields[units]} units · {task.fields[left]} left ·", table_column=whole),
            TimeElapsedColumn(table_column=clock),
            TextColumn("· {task.description}", markup=False, table_column=names),
            console=Console(stderr=True),
            expand=True,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self.clockwork.total, units="0", left="?")

    def __enter__(self) -> Self:
        self.bar.start()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def started(self, unit: UnitOfWork) -> None:
        """Name it."""
        self.running.append(unit.name)
        self._show()

    def tick(self) -> None:
        """Refresh the time left."""
        self._show()

    def ended(self, unit: UnitOfWork) -> None:
        """Move the bar."""
        self.running.remove(unit.name)
        self.clockwork.ended(unit)
        self._show()

    def _show(self) -> None:
        clock = self.clockwork
        self.bar.update(
            self.task,
            completed=clock.done,
            description=", ".join(self._how_far(name) for name in self.running) or "finishing",
            units=f"{clock.units_done}/{len(clock.predicted)}",
            left=human_duration(clock.left_s),
        )

    def _how_far(self, unit: str) -> str:
        """A unit's name; of one that trains, what it says of itself first: the end of a line may be cut."""
        said = Workspace(self.folder.path, unit).said() if self.folder else ""
        return f"{said} ({unit})" if said else unit


class Counter:
    """So many units of so many, in one line that is written anew; nothing where nobody looks."""

    def __init__(self, total: int, what: str, stream: TextIO | None = None) -> None:
        self.total, self.what, self.stream, self.done = total, what, stream or sys.stderr, 0

    def started(self, unit: UnitOfWork) -> None:
        """Silent."""

    def tick(self) -> None:
        """Silent."""

    def ended(self, unit: UnitOfWork) -> None:  # noqa: ARG002  # as every progress
        """`12/60 launches`."""
        self.done += 1
        if self.stream.isatty():
            end = "\r" if self.done < self.total else "\r\x1b[K"
            with contextlib.suppress(OSError):
                print(f"{self.done}/{self.total} {self.what}", end=end, file=self.stream, flush=True)


def counting(total: int, what: str) -> Counter:
    """Progress of a command that is over in a minute."""
    return Counter(total, what)


def progress_for(plan: Plan, folder: RunFolder | None = None) -> Lines | Live:
    """A live bar on a terminal, lines in a pipe or a log."""
    return Live(plan, folder) if sys.stderr.isatty() else Lines(plan)
