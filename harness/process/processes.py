"""Processes of this host: telling one from a later one with the same number; asking programs; reading files of the kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def answer(
    words: Sequence[str],
    limit_s: float | None = None,
    *,
    said: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Ask a program something, such as git or a scheduler, and wait for what it says.

    What measures is started as a child that is tied to this process (`execution/log_supervisor.py`).

    Args:
        words: the command line.
        limit_s: seconds after which it is killed; None: it is waited for.
        said: what it reads.
        environment: its variables; None: those of this process.

    Raises:
        OSError: if there is no such program.
        subprocess.TimeoutExpired: if it takes longer.
    """
    return subprocess.run(words, input=said, capture_output=True, timeout=limit_s, check=False, env=environment)  # noqa: S603  # the caller's words


def text_of(file: str | Path) -> str | None:
    """Text of a file of the kernel, such as those below `/proc`; None if it cannot be read."""
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:  # a process or thread may end before it is read
        return None


def kernel() -> str:
    """The boot of the kernel and the namespace of processes, within which a process number has a meaning."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def began(pid: int) -> str:
    """When a process began, in ticks since the boot; empty if there is none, or it has ended and waits for its parent."""
    fields = (text_of(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return "" if not fields or fields[0] in {"Z", "X"} else fields[19]


def exists(pid: int) -> bool:
    """Whether some process has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
