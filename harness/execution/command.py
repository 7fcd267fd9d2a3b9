"""A command as a process that is held like a unit's: it ends with this process and at its limit, and its log is bounded."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from modbench.harness.execution.log_supervisor import Keeper
from modbench.harness.process import parent_death


@dataclass(frozen=True)
class Command:
    """A command that runs.

    Attributes:
        running: its process.
    """

    running: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its number, which is that of its group too."""
        return self.running.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.running.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.running.wait(timeout)

    def kill(self) -> None:
        """Kill it alone."""
        self.running.kill()


@contextlib.contextmanager
def started(
    words: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    keeper: Keeper,
    limit_s: float,
    *,
    folder: Path | None = None,
    passed: Sequence[int] = (),
) -> Iterator[Command]:
    """Start a command; at the end of the `with` block it is ended, with all that it started.

    Args:
        words: the command line.
        environment: its variables.
        log: a new file that takes what it prints.
        keeper: ends it where this process cannot.
        limit_s: seconds after which it is ended if this process has not done so: whoever starts it waits for no longer.
        folder: where it runs; None: here.
        passed: file descriptors that it gets, by the same numbers.
    """

    def make(mark: str, alarm_s: float, out: Connection | None) -> Command:
        with contextlib.ExitStack() as opened:
            return Command(
                subprocess.Popen(  # noqa: S603  # what the caller names
                    parent_death.tied(words, alarm_s),
                    env={**environment, parent_death.MARK: mark},
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=opened.enter_context(log.open("wb")) if out is None else out.fileno(),
                    stderr=subprocess.STDOUT,
                    pass_fds=passed,
                    start_new_session=out is not None,
                )
            )

    running = keeper.start(str(log), log, limit_s, make)
    try:
        yield running
    finally:
        keeper.stop(str(log), running)
