"""Runs one command and tells what it took: `python -I -S one_command.py PIPE WORD…` writes one line of JSON to the pipe.

A process of its own, and a small one: the kernel counts the memory of who starts a command as that of the command, until it
becomes the program. The command stays in this process's group, which is killed as a whole.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

# What a process reads of its own control group, and of what is mounted where.
OWN, MOUNTS = Path("/proc/self/cgroup"), Path("/proc/self/mounts")


def timed(words: list[str]) -> dict[str, object]:
    """Run a command, and return its numbers in s and B; of one that cannot be started why not (`error`)."""
    group, home, why = _enter_group()
    late_s = _scheduled("self")[1]
    start = time.perf_counter()
    try:
        # Python ignores these signals, and what it starts would go on doing so.
        pid = os.posix_spawnp(words[0], words, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        return {"error": f"{words[0]}: {error.strerror}"}
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    wall_s = time.perf_counter() - start
    own_s, (main_s, delay_s) = _scheduled("self")[1], _scheduled(pid)
    _, status, used = os.wait4(pid, 0)
    return {
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
    os.write(pipe, json.dumps(timed(sys.argv[2:])).encode())
