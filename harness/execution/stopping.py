"""Signals that stop a run: the first Ctrl-C lets running jobs end in good order, everything else stops at once.

A timed job is then measured to its end, and a training job ends at a checkpoint. A second Ctrl-C, SIGTERM (of a scheduler) and
SIGHUP (of a terminal that closed) end all workers now. Either way finished jobs are kept.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

HANGUP = getattr(signal, "SIGHUP", None)


class Stop:
    """The requests of signals so far.

    Args:
        tell: called once with the number of the signal, when the first Ctrl-C came.

    Attributes:
        finishing: whether jobs that run shall end in good order, and no others start.
        ending: whether all shall end now; further signals are ignored, so that workers are ended in peace.
        cause: the signal's name; empty if there was none.
        left: what to know of jobs that go on elsewhere, as their launcher says it.
    """

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self.finishing = self.ending = False
        self.cause = self.left = ""
        self._tell = tell

    @property
    def interrupted(self) -> str:
        """`interrupted`, with the signal unless it was Ctrl-C."""
        return f"interrupted by {self.cause}" if self.cause in {"SIGTERM", "SIGHUP"} else "interrupted"

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: if all shall end now.
        """
        if self.ending:
            return
        self.cause = signal.Signals(number).name
        if number == signal.SIGINT and not self.finishing:
            self.finishing = True
            if self._tell is not None:
                self._tell()
            return
        self.ending = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def signals(stop: Stop) -> Iterator[Stop]:
    """Let `stop` handle signals in the `with` block; outside the main thread, which alone gets signals, nothing changes.

    A signal that the process was told to ignore (as by `nohup`) stays ignored. Where one comes inside a finalizer, Python
    drops the interrupt and prints it: it is not printed here, and a run sees `stop.ending` before it goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    mine = {number: known for number, known in before.items() if known is not signal.SIG_IGN}
    for number in mine:
        signal.signal(number, stop.take)
    print_dropped = sys.unraisablehook

    def dropped(lost: sys.UnraisableHookArgs) -> None:
        if not (stop.ending and issubclass(lost.exc_type, KeyboardInterrupt)):
            print_dropped(lost)

    sys.unraisablehook = dropped
    try:
        yield stop
    finally:
        sys.unraisablehook = print_dropped
        for number, known in mine.items():
            signal.signal(number, signal.SIG_DFL if known is None else known)


class _Outside:
    """Signals of a command outside of a run: they interrupt it, and are passed over once the run is finished.

    Attributes:
        patience: how many signals are still passed over; what a finished run prints may wait for a reader for ever.
    """

    patience = 0

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: unless the run is finished.
        """
        if self.patience:
            self.patience -= 1
        else:
            signal.default_int_handler(number, frame)


_OUTSIDE = _Outside()


def interrupt_on_end() -> None:
    """Let SIGTERM and SIGHUP interrupt like Ctrl-C, where nothing is to be finished."""
    _OUTSIDE.patience = 0
    for number in (signal.SIGINT, signal.SIGTERM, HANGUP):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _OUTSIDE.take)


def finished() -> None:
    """Note that the run of this command is finished: nothing is left to stop but the printing of its results."""
    _OUTSIDE.patience = 2
