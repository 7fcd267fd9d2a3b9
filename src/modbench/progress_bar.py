"""Progress on stderr: a bar with jobs done and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

from modbench.harness.core.plain_text import escaped
from modbench.harness.core.units import human_duration
from modbench.harness.results.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.progress import Progress as Bar

    from modbench.harness.domain.case import Job
    from modbench.harness.results.progress_file import RunProgress
    from modbench.harness.training.trainer import Progress


# Running jobs that are named.
MOST_SHOWN = 8
# Seconds between lines about the steps of training where standard error is not a terminal.
LINE_S = 15.0
# What is printed after the first Ctrl-C.
FINISHING = (
    "modbench: jobs that run are finished, training ends at a checkpoint, and nothing else starts. "
    "Press Ctrl-C again to stop now."
)


class Lines:
    """One line per finished job, and one about a running job of which there was none for `SILENT_S` seconds.

    Args:
        folder: where jobs write what they do; None: it is not shown.
        stream: takes the lines; default stderr.
        clock: time in s.
    """

    SILENT_S = 30.0

    def __init__(
        self,
        folder: Path | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.stream, self.clock = folder, stream or sys.stderr, clock
        # When each running job was first seen, and when there was last a line about it.
        self.seen: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def show(self, now: RunProgress, ended: str = "") -> None:
        """Print `[12/34] time-forward-T128-B1-fp32-cpu1-process0, 3 min 02 s left` for a job that has ended.

        And `[11/34] count-T512-…, 1 min 04 s: FLOPs by fvcore (counting dense[…])` for a job that was silent for long.
        """
        if ended:
            self._print(f"[{now.count}] {ended}, {now.left}", now)
        moment = self.clock()
        self.seen = {each.job: self.seen.get(each.job, (moment, moment)) for each in now.running}
        silent = [job for job, (_, last) in self.seen.items() if moment - last >= self.SILENT_S]
        for job in silent[:MOST_SHOWN]:  # of a cluster's thousands, the first that were submitted
            start, _ = self.seen[job]
            self.seen[job] = (start, moment)
            step = Workspace(self.folder, job).said() if self.folder else ""
            what = f": {step}" if step else ""
            self._print(f"[{now.count}] {job}, {human_duration(moment - start)}{what}", now)

    def complete(self, processes: Sequence[Job]) -> None:
        """Print what the processes of a comparison have shown."""
        self._say(_answer(self.folder, processes))

    def finishing(self) -> None:
        """Print that running jobs end in good order."""
        self._say([FINISHING])

    def _say(self, lines: Sequence[str]) -> None:
        with contextlib.suppress(OSError):  # a closed pipe must not end a measurement
            for line in lines:
                print(escaped(line, lines=False), file=self.stream, flush=True)

    def _print(self, line: str, now: RunProgress) -> None:  # noqa: ARG002  # for those that print less
        self._say([line])


class Quiet(Lines):
    """Prints only that running jobs end in good order."""

    def show(self, now: RunProgress, ended: str = "") -> None:
        """Print nothing."""

    def complete(self, processes: Sequence[Job]) -> None:
        """Print nothing."""


class Live:
    """A progress bar that names the running jobs."""

    def __init__(self, folder: Path) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        # On a narrow terminal the names of running jobs are cut, never the bar or the time left.
        names = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        counts, elapsed = Column(no_wrap=True), Column(no_wrap=True)

        self.folder = folder
        self.bar: Bar = Progress(
            BarColumn(16),
            TextColumn("{task.fields[jobs]} jobs · {task.fields[left]} ·", table_column=counts),
            TimeElapsedColumn(table_column=elapsed),
            TextColumn("· {task.description}", markup=False, table_column=names),
            console=Console(stderr=True),
            expand=True,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=None, jobs="0", left="? left")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, now: RunProgress, ended: str = "") -> None:  # noqa: ARG002  # as every display
        """Show jobs, time left, and what the running jobs do."""
        self.bar.update(
            self.task,
            completed=now.elapsed_s,
            total=None if now.left_s is None else now.elapsed_s + now.left_s,
            description=self._running_text(now) or "finishing",
            jobs=now.count,
            left=now.left,
        )

    def complete(self, processes: Sequence[Job]) -> None:
        """Print above the bar what the processes of a comparison have shown."""
        for line in _answer(self.folder, processes):
            self.bar.console.print(escaped(line, lines=False), markup=False, highlight=False)

    def finishing(self) -> None:
        """Print above the bar that running jobs end in good order."""
        self.bar.console.print(FINISHING, markup=False, highlight=False)

    def _running_text(self, now: RunProgress) -> str:
        named = [self._job_text(each.job) for each in now.running[:MOST_SHOWN]]
        more = sum(group.running for group in now.groups) - len(named)
        return ", ".join([*named, *([f"{more:,} more"] if more else [])])

    def _job_text(self, job: str) -> str:
        """The last line of progress of a job, then its name: the end of the line may be cut."""
        step = Workspace(self.folder, job).said()
        return escaped(f"{step} ({job})" if step else job, lines=False)


def _answer(folder: Path | None, processes: Sequence[Job]) -> list[str]:
    """Lines on a comparison whose last process has ended."""
    from modbench.reports.terminal import answer_so_far

    try:
        return answer_so_far.answer(folder, processes) if folder else []
    except Exception:  # noqa: BLE001  # the report meets the same error and says so; it must not end the measurement
        return []


class Counter:
    """Counts jobs in one line that is overwritten; prints nothing when stderr is not a terminal."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done = total, what, 0

    def started(self, job: Job) -> None:
        """Print nothing."""

    def tick(self) -> None:
        """Print nothing."""

    def added(self, group: str, jobs: Sequence[Job]) -> None:  # noqa: ARG002  # as every progress
        """Count requested jobs."""
        self.total += len(jobs)

    def ended(self, job: Job) -> None:  # noqa: ARG002  # as every progress
        """Print `12/60 processes`."""
        self.done += 1
        if sys.stderr.isatty():
            end = "\r" if self.done < self.total else "\r\x1b[K"
            with contextlib.suppress(OSError):
                print(f"{self.done}/{self.total} {self.what}", end=end, file=sys.stderr, flush=True)


@dataclass
class StepProgress:
    """Prints the progress of a job: on a terminal one line that is overwritten, elsewhere a line every `LINE_S`."""

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


def progress_for(folder: Path, *, quiet: bool = False) -> Lines | Live:
    """A bar on a terminal, lines in a pipe or log."""
    if quiet:
        return Quiet(folder)
    return Live(folder) if sys.stderr.isatty() else Lines(folder)
