"""Runs one command and tells what it took: `python -I -S one_command.py PIPE SEARCH WORD…` writes one line of JSON to the pipe.

SEARCH is JSON that says what to look for in what the command prints (`Printed`), or is empty.

A process of its own, and a small one: the kernel counts the memory of who starts a command as that of the command, until it
becomes the program. The command stays in this process's group, which is killed as a whole.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

# What a process reads of its own control group, and of what is mounted where.
OWN, MOUNTS = Path("/proc/self/cgroup"), Path("/proc/self/mounts")
# Bytes that are read at once, and of a line without an end; points of a curve that are kept; seconds for what is still printed
# when the command has ended: what it left running may hold the pipe open.
CHUNK, LONGEST_LINE, MOST_POINTS, DRAIN_S = 2**16, 2**16, 100_000, 1.0


class Printed(threading.Thread):
    """What a command prints: passed on to the log, and searched line by line while it comes.

    Attributes:
        values: by name all that was found for it: the last match, how many there were, and their sum; NaN if one is no number.
        points: of the curve: step and value as they are printed, wall and CPU seconds since the start. The CPU time is that of
            the command's own process, with the children it waited for; None where the system does not tell.
    """

    def __init__(self, pipe: int, pid: int, start: float, search: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self.pipe, self.pid, self.start_s = pipe, pid, start
        self.patterns = {name: re.compile(each) for name, each in dict(search["values"]).items()}  # type: ignore[call-overload]
        self.curve = None if search["curve"] is None else re.compile(str(search["curve"]))
        self.values = dict[str, tuple[str, int, float]]()
        self.points = list[tuple[str, str, float, float | None]]()

    def run(self) -> None:
        """Read until every process that can print has ended."""
        rest = b""
        while chunk := os.read(self.pipe, CHUNK):
            wall_s, cpu_s = time.perf_counter() - self.start_s, self.curve and _used(self.pid)
            *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
            for line in lines:
                self._search(line.decode(errors="replace"), wall_s, cpu_s)
            if len(rest) > LONGEST_LINE:
                rest = rest[-LONGEST_LINE // 2 :]
            while chunk:
                chunk = chunk[os.write(1, chunk) :]
        self._search(rest.decode(errors="replace"), time.perf_counter() - self.start_s, self.curve and _used(self.pid))

    def _search(self, line: str, wall_s: float, cpu_s: float | None) -> None:
        for name, pattern in self.patterns.items():
            for match in pattern.finditer(line):
                _, n, total = self.values.get(name, ("", 0, 0.0))
                self.values[name] = match[1], n + 1, total + _number(match[1])
        if self.curve is not None and len(self.points) <= MOST_POINTS:
            self.points += [(match[1], match[2], wall_s, cpu_s) for match in self.curve.finditer(line)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _used(pid: int) -> float | None:
    """CPU seconds of a process until now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def timed(words: list[str], search: dict[str, object] | None = None) -> dict[str, object]:
    """Run a command, and return its numbers in s and B; of one that cannot be started why not (`error`)."""
    group, home, why = _enter_group()
    late_s = _scheduled("self")[1]
    comes, goes = os.pipe()
    prints = [(os.POSIX_SPAWN_DUP2, goes, 1), (os.POSIX_SPAWN_DUP2, goes, 2)] if search else []
    start = time.perf_counter()
    try:
        # Python ignores these signals, and what it starts would go on doing so.
        pid = os.posix_spawnp(
            words[0], words, os.environ, file_actions=prints, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
        )
    except OSError as error:
        return {"error": f"{words[0]}: {error.strerror}"}
    os.close(goes)
    printed = Printed(comes, pid, start, search) if search else None
    if printed:
        printed.start()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    wall_s = time.perf_counter() - start
    if printed:
        printed.join(DRAIN_S)
    own_s, (main_s, delay_s) = _scheduled("self")[1], _scheduled(pid)
    _, status, used = os.wait4(pid, 0)
    found = {"printed": {"values": printed.values, "points": printed.points}} if printed else {}
    return found | {
        "code": os.waitstatus_to_exitcode(status),
        "wall_s": wall_s,
        "cpu_s": used.ru_utime + used.ru_stime,
        "main_s": main_s,
        # Until this process sees the end, it may wait for a processor too.
        "delay_s": None if delay_s is None else delay_s + (own_s or 0.0) - (late_s or 0.0),
        "rss_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "tree_bytes": None if group is None or home is None else _leave(group, home),
        "tree_why": why,
    }


def _scheduled(pid: int | str) -> tuple[float, float] | tuple[None, None]:
    """Seconds that the first thread of a process ran, and waited for a processor; None where the system does not tell."""
    try:
        run_ns, waited_ns, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split())
    except OSError:
        return None, None
    return (run_ns / 1e9, waited_ns / 1e9) if run_ns else (None, None)


def _enter_group() -> tuple[Path | None, Path | None, str | None]:
    """Move this process to a new control group, version 2, that counts memory: that one, the old one, and why there is none."""
    try:
        mounted = [line.split() for line in MOUNTS.read_text(encoding="utf-8").splitlines()]
        root = next((Path(words[1]) for words in mounted if words[2] == "cgroup2"), None)
        own = [line[3:] for line in OWN.read_text(encoding="utf-8").splitlines() if line.startswith("0::")]
        if root is None or not own:
            return None, None, "there is no cgroup v2"
        # Beside its own: a group with processes in it has no parts that count memory, but for the first of all.
        home = root / own[0].strip("/")
        beside = root if home == root else home.parent
        if "memory" not in (beside / "cgroup.subtree_control").read_text(encoding="ascii").split():
            return None, None, "its control group does not count memory"
        group = beside / f"modbench-{os.getpid()}"
        group.mkdir()
    except OSError as error:
        return None, None, f"no control group can be made: {error.strerror}"
    try:
        (group / "cgroup.procs").write_text("0", encoding="ascii")
    except OSError as error:
        group.rmdir()
        return None, None, f"its control group cannot be entered: {error.strerror}"
    return group, home, None


def _leave(group: Path, home: Path) -> int | None:
    """The most memory of the control group in B, which is left and removed unless something still runs in it."""
    try:
        most = int((group / "memory.peak").read_text(encoding="ascii"))
        (home / "cgroup.procs").write_text("0", encoding="ascii")
        group.rmdir()
    except OSError:
        return None
    return most


if __name__ == "__main__":
    pipe = int(sys.argv[1])
    os.set_inheritable(pipe, False)  # what the command leaves running must not hold it open
    told = json.dumps(timed(sys.argv[3:], json.loads(sys.argv[2] or "null"))).encode()
    while told:
        told = told[os.write(pipe, told) :]
