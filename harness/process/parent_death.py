"""Ties a process to its parent and to a time limit, so that none is left behind. Nothing here ticks while the process works.

As a script, `python parent_death.py PARENT SECONDS COMMAND…`, it ties itself and becomes the command, whichever program that is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path

PR_SET_PDEATHSIG = 1
# Set in a worker's environment, so that what a model starts can be found even in a session of its own.
MARK = "MODBENCH_TIED"


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait in the `with` block; a process that is started there does not hear it until `hear_interrupts`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # where a process is its first, Python starts it then, and lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_interrupts() -> None:
    """Hear SIGINT again, and forget one that came while this process was still in its parent's group: it was for the parent."""
    if hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # this drops one that waits
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)


def own_group() -> None:
    """Become the leader of a session and process group: Ctrl-C in the terminal then reaches the parent only, which decides."""
    if hasattr(os, "setsid") and os.getpid() != os.getsid(0):
        os.setsid()


def end_with_parent(parent: int | None = None) -> None:
    """Let the kernel kill this process (SIGKILL) when its parent ends. Linux only; elsewhere the log supervisor does it.

    Args:
        parent: process id that the parent must have; if it is another's, the parent ended before this was called, and this
            process ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def end_after(seconds: float) -> None:
    """Let the kernel end this process (SIGALRM) after some time, even if the interpreter hangs. Set once: it never ticks.

    The timer is not inherited by children, and survives `exec`.
    """
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, seconds)


def tied(words: Sequence[str], seconds: float) -> list[str]:
    """A command that ends with this process and after some time; on Windows, which has neither, the command itself.

    It is to be started in a session of its own, and while `interrupts_wait`.
    """
    if sys.platform == "win32":
        return list(words)
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), str(seconds), *words]


if __name__ == "__main__":
    hear_interrupts()
    end_with_parent(int(sys.argv[1]))
    end_after(float(sys.argv[2]))
    try:
        os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  # what `tied` was given
    except OSError as problem:
        sys.exit(f"{sys.argv[3]}: {problem.strerror}")
