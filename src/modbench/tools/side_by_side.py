"""Processes of several sides that are alive together and compute in turns, round by round."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modbench.harness.core.errors import ModbenchError


@dataclass(frozen=True)
class Start:
    """What one process is.

    Attributes:
        said: the side in words.
        words: its command line; the numbers of its two pipes are added.
        environment: its variables.
        folder: where it runs; None: here.
        log: takes what it prints.
    """

    said: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path | None
    log: Path


@dataclass
class _Child:
    """A process that takes turns.

    Attributes:
        start: what it is.
        process: the process.
        asks: file descriptor that holds a byte for each question, and ends with the process.
        grant: file descriptor that takes a byte for each turn.
        alive: whether it may ask again.
    """

    start: Start
    process: subprocess.Popen[bytes]
    asks: int
    grant: int
    alive: bool = True

    def wait(self, limit_s: float) -> None:
        """Wait until it asks for a turn, or has ended.

        Raises:
            ModbenchError: if it does neither within the limit.
        """
        if not select.select([self.asks], [], [], limit_s)[0]:
            raise ModbenchError(f"{self.start.said}: a launch did nothing for {limit_s:,.0f} s and was ended.")
        self.alive = bool(os.read(self.asks, 1))


def run(starts: Sequence[Start], limit_s: float) -> None:
    """Start processes, let them load and build together, and then let one compute at a time.

    Rounds alternate as first, second, third, first, and so on. None has two turns in a row: in the second one it would find its
    data in the caches. In an order to and fro that made the process in the middle look 1 % slower.

    Args:
        starts: the processes.
        limit_s: seconds that a process may take until it asks for its first turn, and for each turn.

    Raises:
        ModbenchError: if one fails, or takes longer than the limit; all are ended then.
    """
    with contextlib.ExitStack() as opened:
        children = [opened.enter_context(_started(start)) for start in starts]
        for child in children:
            child.wait(limit_s)
        while any(child.alive for child in children):
            for child in children:
                if child.alive:
                    with contextlib.suppress(BrokenPipeError):  # it died while it waited: its exit code says how
                        os.write(child.grant, b"!")
                    child.wait(limit_s)
        for child in children:
            code = child.process.wait(limit_s)
            if code:
                last = (child.start.log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
                raise ModbenchError(f"{child.start.said}: a launch ended with code {code}: {last[:300]}")


@contextlib.contextmanager
def _started(start: Start) -> Iterator[_Child]:
    asks, ask = os.pipe()
    granted, grant = os.pipe()
    log: IO[bytes]
    with contextlib.ExitStack() as ends:
        for end in (asks, grant):
            ends.callback(os.close, end)
        try:
            with start.log.open("wb") as log:
                process = subprocess.Popen(  # noqa: S603  # an interpreter that the user named
                    [*start.words, str(ask), str(granted)],
                    env=dict(start.environment),
                    cwd=start.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(ask, granted),
                )
        finally:
            os.close(ask)
            os.close(granted)
        try:
            yield _Child(start, process, asks, grant)
        finally:
            process.kill()
            process.wait()
