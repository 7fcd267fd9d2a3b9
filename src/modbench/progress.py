"""Progress on stderr: a bar with units done and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

from modbench.harness.core.printable import escaped
from modbench.harness.core.units import human_duration, human_span
from modbench.harness.execution.runner import phases
from modbench.harness.machine.environment import usable_cores
from modbench.harness.planning.plan import Plan
from modbench.harness.profiling.run_time import RunTime
from modbench.harness.results import predicted
from modbench.harness.results.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.progress import Progress as Bar

    from modbench.harness.core.case import UnitOfWork
    from modbench.harness.results.run_folder import RunFolder
    from modbench.harness.training.trainer import Progress


# Running units that are named.
MOST_SHOWN = 8
# Seconds between lines about the steps of training where standard error is not a terminal.
LINE_S = 15.0
# What is printed after the first Ctrl-C.
FINISHING = (
    "modbench: units that run are finished, training ends at a checkpoint, and nothing else starts. "
    "Press Ctrl-C again to stop now."
)


class TimeLeft:
    """Units done and time left: the plan's prediction, scaled by its error so far."""

    def __init__(self, plan: Plan) -> None:
        run_time = RunTime(plan)
        every = [(unit, slots.at_once) for slots in phases(plan, usable_cores()) for unit in slots.units]
        self.at_once = {unit.name: number for unit, number in every}  # by name: hashing a unit reads all of its cases
        seconds = {unit.name: run_time.seconds(unit, number) for unit, number in every}
        # What a pilot, a search or a confirmation may ask for is counted when it is asked for.
        optional, shares = [unit for unit, _ in every if plan.on_request(unit)], plan.shares()
        self.optional = {unit.name: seconds.pop(unit.name) for unit in optional}
        self.asked_with = {unit.name: plan.asked_with(unit) for unit in optional}
        self.predicted = seconds
        # The most seconds that each may still ask for.
        self.undecided = dict.fromkeys(self.asked_with.values(), 0.0)
        for name, group in self.asked_with.items():
            self.undecided[group] += self.optional[name] * shares[name]
        self.total = sum(self.predicted.values())
        self.done = 0.0
        self.units_done = 0
        self.start = time.monotonic()

    def ended(self, unit: UnitOfWork) -> None:
        """Count a unit as done."""
        self.done += self.predicted[unit.name]
        self.units_done += 1

    def added(self, group: str, units: Sequence[UnitOfWork]) -> None:
        """Count requested units; a named group requests no more."""
        more = {unit.name: self.optional[unit.name] for unit in units}
        self.predicted |= more
        self.total += sum(more.values())
        for name, seconds in more.items():
            asked_with = self.asked_with[name]
            self.undecided[asked_with] = max(0.0, self.undecided[asked_with] - seconds)
        self.undecided.pop(group, None)

    @property
    def count(self) -> str:
        """Units done and in all, `12/34`; `12/34+` while a pilot or a search may ask for more."""
        return f"{self.units_done}/{len(self.predicted)}{'+' * bool(self.undecided)}"

    @property
    def left(self) -> str:
        """Time left in words: `3 min 02 s`, or `3 to 9 min` while a pilot or a search may ask for more."""
        least = self.seconds
        return human_span(least, least + sum(self.undecided.values()) * self._scale)

    @property
    def seconds(self) -> float:
        """Seconds left, without units that may still be requested."""
        return max(0.0, (self.total - self.done) * self._scale)

    @property
    def _scale(self) -> float:
        """Seconds that a predicted second takes; until 5 % are done, the unscaled prediction is the better estimate."""
        return (time.monotonic() - self.start) / self.done if self.done > 0.05 * self.total else 1.0


class Lines:
    """One line per finished unit, and one about a running unit of which there was none for `SILENT_S` seconds.

    Args:
        plan: what runs.
        stream: takes the lines; default stderr.
        folder: where units say what they do.
        clock: time in s.
    """

    SILENT_S = 30.0

    def __init__(
        self,
        plan: Plan,
        stream: TextIO | None = None,
        folder: RunFolder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.time_left, self.stream = TimeLeft(plan), stream or sys.stderr
        self.folder, self.clock = folder, clock
        # When each running unit started, and when there was last a line about it.
        self.running: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def started(self, unit: UnitOfWork) -> None:
        """Print nothing: a line follows when the unit has ended, or has run for a while."""
        self.running[unit.name] = (self.clock(), self.clock())

    def tick(self) -> None:
        """Print `[11/34] count-T512-…, 1 min 04 s: FLOPs by fvcore (counting dense[…])` for a unit that was silent for long."""
        now = self.clock()
        silent = [unit for unit, (_, last) in self.running.items() if now - last >= self.SILENT_S]
        for unit in silent[:MOST_SHOWN]:  # of a cluster's thousands, the first that were submitted
            start, _ = self.running[unit]
            self.running[unit] = (start, now)
            step = Workspace(self.folder.path, unit).said() if self.folder else ""
            what = f": {step}" if step else ""
            self._print(f"[{self.time_left.count}] {unit}, {human_duration(now - start)}{what}")

    def finishing(self) -> None:
        """Print that running units end in good order."""
        with contextlib.suppress(OSError):
            print(FINISHING, file=self.stream, flush=True)

    def ended(self, unit: UnitOfWork) -> None:
        """Print `[12/34] time-forward-T128-B1-fp32-cpu1-launch0, 3 min 02 s left`."""
        left = self.time_left
        left.ended(unit)
        self.running.pop(unit.name, None)
        self._print(f"[{left.count}] {unit.name}, {left.left} left")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a closed pipe must not end a measurement
            print(escaped(line, lines=False), file=self.stream, flush=True)

    def added(self, group: str, units: Sequence[UnitOfWork]) -> None:
        """Count requested units."""
        self.time_left.added(group, units)


class Quiet(Lines):
    """Prints only that running units end in good order."""

    def _print(self, line: str) -> None:
        """Print nothing."""


class Cell(Lines):
    """Lines below a notebook's cell, which keeps all of them: one when the first unit has ended, then one in a while."""

    EVERY_S = 15.0
    last: float | None = None

    def _print(self, line: str) -> None:
        now, left = self.clock(), self.time_left
        if self.last is None or now - self.last >= self.EVERY_S or left.units_done == len(left.predicted):
            self.last = now
            super()._print(line)


class Live:
    """A progress bar that names the running units."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        # On a narrow terminal the names of running units are cut, never the bar or the time left.
        names = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        counts, elapsed = Column(no_wrap=True), Column(no_wrap=True)

        self.time_left, self.folder = TimeLeft(plan), folder
        self.running: dict[str, None] = {}
        self.bar: Bar = Progress(
            BarColumn(16),
            TextColumn("{task.fields[units]} units · {task.fields[left]} left ·", table_column=counts),
            TimeElapsedColumn(table_column=elapsed),
            TextColumn("· {task.description}", markup=False, table_column=names),
            console=Console(stderr=True),
            expand=True,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self.time_left.total, units="0", left="?")

    def __enter__(self) -> Self:
        self.bar.start()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def started(self, unit: UnitOfWork) -> None:
        """Show the unit as running."""
        self.running[unit.name] = None
        if len(self.running) <= MOST_SHOWN:
            self._show()

    def tick(self) -> None:
        """Refresh the time left."""
        self._show()

    def finishing(self) -> None:
        """Print above the bar that running units end in good order."""
        self.bar.console.print(FINISHING, markup=False, highlight=False)

    def ended(self, unit: UnitOfWork) -> None:
        """Advance the bar."""
        self.running.pop(unit.name, None)
        self.time_left.ended(unit)
        self._show()

    def added(self, group: str, units: Sequence[UnitOfWork]) -> None:
        """Count requested units: the bar becomes longer."""
        self.time_left.added(group, units)
        self._show()

    def _show(self) -> None:
        left = self.time_left
        self.bar.update(
            self.task,
            completed=left.done,
            total=left.total,
            description=self._running_text() or "finishing",
            units=left.count,
            left=left.left,
        )

    def _running_text(self) -> str:
        named = [self._unit_text(name) for name in itertools.islice(self.running, MOST_SHOWN)]
        more = len(self.running) - len(named)
        return ", ".join([*named, *([f"{more:,} more"] if more else [])])

    def _unit_text(self, unit: str) -> str:
        """The last line of progress of a unit, then its name: the end of the line may be cut."""
        step = Workspace(self.folder.path, unit).said()
        return escaped(f"{step} ({unit})" if step else unit, lines=False)


class Counter:
    """Counts units in one line that is overwritten; prints nothing when stderr is not a terminal."""

    def __init__(self, total: int, what: str, stream: TextIO | None = None) -> None:
        self.total, self.what, self.stream, self.done = total, what, stream or sys.stderr, 0

    def started(self, unit: UnitOfWork) -> None:
        """Print nothing."""

    def tick(self) -> None:
        """Print nothing."""

    def added(self, group: str, units: Sequence[UnitOfWork]) -> None:  # noqa: ARG002  # as every progress
        """Count requested units."""
        self.total += len(units)

    def ended(self, unit: UnitOfWork) -> None:  # noqa: ARG002  # as every progress
        """Print `12/60 launches`."""
        self.done += 1
        if self.stream.isatty():
            end = "\r" if self.done < self.total else "\r\x1b[K"
            with contextlib.suppress(OSError):
                print(f"{self.done}/{self.total} {self.what}", end=end, file=self.stream, flush=True)


@dataclass
class StepProgress:
    """Prints the progress of a unit: on a terminal one line that is overwritten, elsewhere a line every `LINE_S`."""

    stream: TextIO
    printed_at: float = 0.0

    def __call__(self, state: Progress | str) -> None:
        """Print the state, or a step in words, unless the last line is too recent."""
        now = time.monotonic()
        last = not isinstance(state, str) and state.step == state.steps
        if not self.stream.isatty() and now - self.printed_at < LINE_S and not last:
            return
        self.printed_at = now
        with contextlib.suppress(OSError):  # a closed pipe must not end a run
            if self.stream.isatty():
                print(f"\r\x1b[K{state}", end="\n" if last else "", file=self.stream, flush=True)
            else:
                print(state, file=self.stream, flush=True)


def progress_for(plan: Plan, folder: RunFolder, *, quiet: bool = False) -> Lines | Live:
    """A bar on a terminal, lines in a pipe or log, few in a notebook; predictions are stored for `modbench watch`."""
    display: Lines | Live = Quiet(plan, folder=folder) if quiet else Lines(plan, folder=folder)
    if in_notebook() and not quiet:
        display = Cell(plan, sys.stdout, folder)  # standard error looks like an error there
    elif sys.stderr.isatty() and not quiet:
        display = Live(plan, folder)
    left = display.time_left
    predicted.write(folder.path, left.predicted | left.optional, left.at_once)
    return display


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, by IPython if it is loaded."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ in {"ZMQInteractiveShell", "Shell"}  # the second is Colab's
