"""Processes of several sides that are alive together and compute in turns, round by round."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

from modbench.extend import Child, signal_group, start_command

# Seconds that a process may take to end after it closed its pipes.
ENDING_S = 60.0


@dataclass(frozen=True)
class Start:
    """A process to start.

    Attributes:
        words: its command line; the numbers of its two pipes are added.
        environment: its variables.
        folder: where it runs; None: here.
        log: takes what it prints.
        limit_s: seconds that it may take until it asks for its first turn, and for all its turns together.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path | None
    log: Path
    limit_s: float


@dataclass
class _Child:
    """A process that takes turns.

    Attributes:
        running: the process.
        asks: file descriptor that holds a byte for each question, and ends with the process.
        grant: file descriptor that takes a byte for each turn.
        left_s: what is left of its limit. The turns of others do not count.
        ended: whether it has: it asks no more.
        exitcode: how; None where it passed its limit.
    """

    running: Child
    asks: int
    grant: int
    left_s: float
    ended: bool = False
    exitcode: int | None = None

    def wait(self) -> None:
        """Wait until it asks for a turn, has ended, or passed its limit."""
        began = time.monotonic()
        ready = bool(select.select([self.asks], [], [], max(0.0, self.left_s))[0])
        self.left_s -= time.monotonic() - began
        if ready and os.read(self.asks, 1):
            return
        if ready:
            self.running.join(ENDING_S)
        self.ended, self.exitcode = True, self.running.exitcode
        if self.exitcode is None:  # now: it must not compute beside the turns of the others
            signal_group(self.running.pid, signal.SIGKILL)


def run(starts: Sequence[Start]) -> list[int | None]:
    """Start processes, let them load and build together, and then let one compute at a time.

    Rounds follow one another in this order. None has two turns in a row: in the second one it would find its data in the caches.
    In an order to and fro that made the process in the middle seem 1 % slower.

    Returns:
        The exit code of each, negative for a signal; None if it passed its limit and was ended. None stops the others.
    """
    all_turns_s = sum(start.limit_s for start in starts)
    with contextlib.ExitStack() as opened:
        children = [opened.enter_context(_start(start, all_turns_s)) for start in starts]
        for child in children:
            child.wait()
        while waiting := [child for child in children if not child.ended]:
            for child in waiting:
                with contextlib.suppress(BrokenPipeError):  # it died while it waited: its exit code says how
                    os.write(child.grant, b"!")
                child.wait()
        return [child.exitcode for child in children]


@contextlib.contextmanager
def _start(start: Start, all_turns_s: float) -> Iterator[_Child]:
    asks, ask = Pipe(duplex=False)
    granted, grant = Pipe(duplex=False)
    with asks, grant, contextlib.ExitStack() as ended:
        with ask, granted:
            passed = ask.fileno(), granted.fileno()
            words, folder = [*start.words, *map(str, passed)], start.folder
            held = start_command(words, start.environment, start.log, all_turns_s, folder=folder, passed=passed)
            running = ended.enter_context(held)
        yield _Child(running, asks.fileno(), grant.fileno(), start.limit_s)
