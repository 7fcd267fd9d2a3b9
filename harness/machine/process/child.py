"""A child process: how it is started, watched and ended. Whatever measures is started here, and nowhere else.

Three processes take part. The *parent* calls `start`, and must always call `Child.end`. The *child* calls `tie` before all else,
and works. Beside it a *minder* sleeps on two pipes: the one that the child prints to, and the *lifeline*, whose other end only
the parent has open, so that the kernel closes it when the parent is gone, however it went. The minder is this file run as a
script by a bare interpreter (10 MB of memory). It copies what the child prints to its log, of which the first and the last MiB
are kept; the last is written at the end. The parent sleeps all the while, however much the child prints.

Each child leads a session and a process group of its own: a terminal's Ctrl-C reaches the parent only, and what the child starts
is ended by killing the group.

| what happens | who ends the child, and what is left of its group |
| --- | --- |
| it ends by itself | the parent reaps it and kills the rest of the group, in `Child.end` |
| its limit, Ctrl-C | the parent, in `Child.end`: SIGTERM, then SIGKILL |
| the parent is killed | the minder the group; on Linux also the kernel the child (`PR_SET_PDEATHSIG`) |
| the parent is stopped or stuck at the limit | the minder, some seconds later |
| the minder is killed | the parent, as always; the log lacks its end, and the child's next print raises `BrokenPipeError` |
| both are killed | on Linux the kernel the child; nobody the rest |

A process that left the group, as by `setsid`, is not ended. The kernel counts the thread that called `start` as the parent: it
has to outlive the child.
"""

from __future__ import annotations

# What the minder needs, and no more: any other import, even `signal`, takes as long as the start of a bare interpreter.
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from subprocess import Popen
    from typing import Protocol

    class Process(Protocol):
        """What `start` is given: a process of multiprocessing, or a command."""

        @property
        def pid(self) -> int | None:
            """Its number."""

        @property
        def exitcode(self) -> int | None:
            """Its exit code, negative for a signal; None while it runs."""

        def join(self, timeout: float | None = None) -> None:
            """Wait until it has ended, at most so many seconds."""

        def kill(self) -> None:
            """Kill it alone."""


# Seconds between SIGTERM and SIGKILL.
GRACE_S = 5.0
# Seconds after its limit until the minder ends a child that its parent has not ended.
LATE_S = 20.0
# Bytes of a log's beginning and of its end that are kept, and bytes that are read at once.
HEAD, TAIL, CHUNK = 2**20, 2**20, 2**18
# Seconds for what is left in the pipe when the parent is done with the child: a process that left the group may hold it open.
DRAIN_S = 1.0
# Seconds until a signal that did not end the group is followed by SIGKILL.
AGAIN_S = 1.0
# Seconds that are waited at a time: the system counts milliseconds, and 24 days are the most.
LONGEST_S = 86400.0
PR_SET_PDEATHSIG = 1
# As Linux and macOS number them.
SIGKILL, SIGALRM = 9, 14


# The parent's part.


class Child:
    """A child, as its parent sees it.

    Attributes:
        process: the child.
        minder: the process beside it.
        lifeline: the end of a pipe that only this process has open.
    """

    def __init__(self, process: Process, minder: Popen[bytes], lifeline: Connection) -> None:
        self.process, self.minder, self.lifeline = process, minder, lifeline

    @property
    def pid(self) -> int:
        """Its number, which is that of its group too."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.exitcode

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.exitcode is None

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended, at most so many seconds."""
        self.process.join(timeout_s)

    def end(self) -> None:
        """Reap it; end it first if it still runs. What is left of its group is killed, and its log is complete then."""
        import signal

        try:
            for number in (signal.SIGTERM, SIGKILL):
                if self.running:
                    if not signal_group(self.pid, number):  # it has not called `tie` yet
                        self.process.kill()
                    self.join(GRACE_S)
            self.join()
            signal_group(self.pid, SIGKILL)
        finally:  # after a second Ctrl-C the minder does the rest
            self.lifeline.close()
        self.minder.wait()


def start(make: Callable[[Connection], Process], log: Path, limit_s: float) -> Child:
    """Start a child, and its minder. Ctrl-C waits meanwhile: a child that is not tied yet is in this process's group.

    Args:
        make: starts the process, given the pipe that it shall print to.
        log: a new file that takes what it prints.
        limit_s: seconds after which the caller waits no longer.
    """
    import signal
    import subprocess
    from multiprocessing import Pipe, resource_tracker

    from modbench.harness.core.atomic_files import new_file

    lifeline_read, lifeline = Pipe(duplex=False)
    printed, prints = Pipe(duplex=False)
    with lifeline_read, printed, prints, open(new_file(log), "wb") as file:  # noqa: PTH123  # a descriptor
        resource_tracker.ensure_running()  # the first process would start it, which lets SIGINT through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        running = None
        try:
            process = make(prints)
            minds = ["mind", str(process.pid), str(limit_s + LATE_S), str(lifeline_read.fileno())]
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})  # the minder inherits that
            try:
                minder = subprocess.Popen(  # noqa: S603  # this file
                    [sys.executable, "-I", "-S", os.path.abspath(__file__), *minds],  # noqa: PTH100  # no imports
                    stdin=printed.fileno(),
                    stdout=file,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[lifeline_read.fileno()],
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                process.kill()
                raise
            running = Child(process, minder, lifeline)
        finally:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            except BaseException:  # a Ctrl-C that waited: nobody else knows of the child
                if running is not None:
                    running.end()
                raise
    return running


def tied(words: Sequence[str]) -> list[str]:
    """The command line that runs `words`, of any program, as a child of this process that is tied to it."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), "become", str(os.getpid()), *words]  # noqa: PTH100  # as above


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False if there is none, or (macOS) only processes that ended are in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


# The child's part.


def tie(parent: int) -> None:
    """Tie this process to its parent: lead a session of its own, hear signals again, and end when the parent does.

    Args:
        parent: process id of who started it. If this process has another parent by now, that one has ended: it ends at once.
    """
    import signal

    if os.getpid() != os.getsid(0):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops one that waits: it was for the parent
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_parent(parent)


def end_with_parent(parent: int | None = None) -> None:
    """Let the kernel kill this process when its parent ends (Linux only); end it now if it has another parent than the given."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


# The minder's part.


class Log:
    """The log of a child: its beginning is written at once, its end on `finish`, and between them how much was cut.

    Args:
        pipe: what the child prints, a file descriptor.
        file: the log, a file descriptor.
        head: bytes of the beginning that are kept.
        tail: bytes of the end that are kept.
    """

    def __init__(self, pipe: int, file: int, head: int = HEAD, tail: int = TAIL) -> None:
        self.pipe, self.file, self.head, self.tail = pipe, file, head, tail
        self.total, self.end = 0, bytearray()

    def copy(self) -> bool:
        """Copy what there is; False at the end."""
        data = os.read(self.pipe, CHUNK)
        room = max(0, self.head - self.total)
        self.total += len(data)
        self.end += data[room:]
        if len(self.end) > 2 * self.tail + CHUNK:
            del self.end[: -self.tail]
        self._write(data[:room])
        return bool(data)

    def finish(self) -> None:
        """Write the end of the log."""
        kept = bytes(self.end[-self.tail :])
        if cut := max(0, self.total - self.head) - len(kept):
            self._write(f"\n… {cut / 2**20:.1f} MiB cut here …\n".encode())
        self._write(kept)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.file, data) :]
            except OSError:  # the disk is full: a log must not end what is measured
                return


def mind(group: int, late_s: float, lifeline: int) -> None:
    """Copy what a child prints from standard input to standard output, until its parent closes the lifeline.

    Then kill what is left of its group. If the parent is late, let the group end by SIGALRM, whose exit code tells of a limit,
    then by SIGKILL.
    """
    log, wake_at, next_signal = Log(0, 1), time.monotonic() + late_s, SIGALRM
    pipes, waiting = {0, lifeline}, select.poll()
    for pipe in pipes:
        waiting.register(pipe, select.POLLIN)
    while pipes:
        left_s = min(LONGEST_S, max(0.0, wake_at - time.monotonic()))
        for pipe, _ in waiting.poll(1000 * left_s):
            if pipe == 0 and log.copy():
                continue
            waiting.unregister(pipe)
            pipes.remove(pipe)
            if pipe == lifeline:
                signal_group(group, SIGKILL)
                wake_at = time.monotonic() + DRAIN_S
        if time.monotonic() >= wake_at:
            if lifeline not in pipes:
                break
            if signal_group(group, next_signal):  # else it has not called `tie` yet
                next_signal = SIGKILL
            wake_at = time.monotonic() + AGAIN_S
    log.finish()


if __name__ == "__main__":
    if sys.argv[1] == "mind":
        mind(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    else:
        import signal

        tie(int(sys.argv[2]))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a program would go on doing so
        try:
            os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  # what `tied` was given
        except OSError as problem:
            sys.exit(f"{sys.argv[3]}: {problem.strerror}")
