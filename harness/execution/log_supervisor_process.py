"""The log supervisor: a small process beside a run that writes the logs of its workers, and ends them if the run dies.

It also removes the run's temporary folders then.

It is started as a script and imports nothing of modbench, so it takes some 10 ms and 10 MB. It blocks in `select` until a worker
prints, the run asks for something, or a limit has passed: it takes no time from what is measured. It has a session of its own
and ignores signals, so that it outlives the run by the moment that it takes to kill the process groups of its workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time

CHUNK = 2**18
# What is left in a pipe is read when its worker has ended; a process that escaped may hold the other end open.
DRAIN_S = 1.0
# The longest that is slept at a time: the system cannot wait for more than 24 days.
LONGEST_S = 86400.0
# A worker whose limit has passed, and that has no process group of its own yet, is tried again after this.
AGAIN_S = 1.0
LINUX_PROCESSES = "/proc"


class Log:
    """The log of one worker: its beginning is written at once, its end when the worker has ended, and between them what was cut.

    Args:
        pipe: where the worker prints, a file descriptor.
        file: the log, a file descriptor.
        head: bytes of the beginning that are kept.
        tail: bytes of the end that are kept.
    """

    def __init__(self, pipe: int, file: int, head: int, tail: int) -> None:
        self.pipe, self.file, self.head, self.tail = pipe, file, head, tail
        self.total, self.end = 0, bytearray()
        os.set_blocking(pipe, False)

    def read(self) -> bool:
        """Read what there is; whether the other end is still open."""
        try:
            data = os.read(self.pipe, CHUNK)
        except BlockingIOError:
            return True
        room = max(0, self.head - self.total)
        self._write(data[:room])
        self.end += data[room:]
        self.total += len(data)
        if len(self.end) > 2 * self.tail + CHUNK:
            del self.end[: -self.tail]
        return bool(data)

    def finish(self) -> None:
        """Write the end of the log, after a line that says how much was cut."""
        kept = bytes(self.end[-self.tail :]) if self.tail else b""
        cut = self.total - min(self.total, self.head) - len(kept)
        if cut:
            self._write(f"\n… {cut / 2**20:.1f} MiB cut here …\n".encode())
        self._write(kept)
        os.close(self.file)
        os.close(self.pipe)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.file, data) :]
            except OSError:  # the disk is full: a log must not end what is measured
                return


class Worker:
    """A worker that is watched: its process group, the mark in the environment of what it starts, its deadline and its log."""

    def __init__(self, group: int, mark: str, deadline: float, log: Log) -> None:
        self.group, self.mark, self.deadline, self.log = group, mark, deadline, log

    def kill(self, *, escaped: bool) -> bool:
        """Kill the process group; where asked for, also processes that left it. Whether there was such a group."""
        there = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)
            there = True
        if escaped:
            for process in marked(self.mark):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
        return there


def marked(mark: str) -> list[int]:
    """Processes of this user that were started with the mark in their environment; none where the system has no `/proc`."""
    found = []
    for name in os.listdir(LINUX_PROCESSES) if os.path.isdir(LINUX_PROCESSES) else ():  # noqa: PTH112, PTH208  # no imports
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"{LINUX_PROCESSES}/{name}/environ", "rb") as file:  # noqa: PTH123
                if mark.encode() in file.read().split(b"\0"):
                    found.append(int(name))
    return found


class Supervisor:
    """Serves one run, whose end of the socket closes when it ends.

    Args:
        run: the socket.
    """

    def __init__(self, run: socket.socket) -> None:
        self.run = run
        self.workers: dict[str, Worker] = {}
        self.folders: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(run, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the run has ended; then end its workers and remove its temporary folders."""
        open_ = True
        while open_:
            for key, _ in self.selector.select(self._left()):
                if key.data is None:
                    open_ = self._answer()
                elif not key.data.read():
                    self.selector.unregister(key.fd)
            for worker in self.workers.values():
                if time.monotonic() >= worker.deadline:
                    there = worker.kill(escaped=True)
                    worker.deadline = float("inf") if there else time.monotonic() + AGAIN_S
        for name in list(self.workers):
            self._end(name, escaped=True)
        for folder in filter(os.path.isdir, self.folders):  # the run did not come to remove them
            import shutil  # rarely needed: the log supervisor starts without it

            shutil.rmtree(folder, ignore_errors=True)

    def _left(self) -> float | None:
        """Seconds until the next deadline; None: there is none."""
        nearest = min((worker.deadline for worker in self.workers.values()), default=float("inf"))
        return None if nearest == float("inf") else min(LONGEST_S, max(0.0, nearest - time.monotonic()))

    def _answer(self) -> bool:
        """Do what the run asks for; False if it has ended."""
        try:
            message, files, _, _ = socket.recv_fds(self.run, 2**16, 2)
        except OSError:
            return False
        if not message:
            return False
        asked = json.loads(message)
        name = asked["name"]
        if "folder" in asked:
            self.folders.append(asked["folder"])
        elif files:
            if name in self.workers:  # a unit that starts again
                self._end(name, escaped=True)
            log = Log(files[0], files[1], asked["head"], asked["tail"])
            self.workers[name] = Worker(asked["group"], asked["mark"], time.monotonic() + asked["limit_s"], log)
            self.selector.register(log.pipe, selectors.EVENT_READ, log)
        elif name in self.workers:
            self._end(name, escaped=asked["escaped"])
        with contextlib.suppress(OSError):
            self.run.sendall(b"\n")
        return True

    def _end(self, name: str, *, escaped: bool) -> None:
        """Kill what is left of a worker, and finish its log."""
        worker = self.workers.pop(name)
        worker.kill(escaped=escaped)
        log, until = worker.log, time.monotonic() + DRAIN_S
        if log.pipe in {key.fd for key in self.selector.get_map().values()}:
            self.selector.unregister(log.pipe)
            with selectors.DefaultSelector() as rest:
                rest.register(log.pipe, selectors.EVENT_READ)
                while rest.select(max(0.0, until - time.monotonic())) and log.read():
                    pass
        log.finish()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Supervisor(socket.socket(fileno=0)).serve()
