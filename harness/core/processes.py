"""Processes of this host: what tells one from a later one with the same number."""

from __future__ import annotations

import os
from pathlib import Path


def kernel() -> str:
    """The boot of the kernel and the namespace of processes, within which a process number has a meaning."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def began(pid: int) -> str:
    """When a process began, in ticks since the boot; empty if there is none, or it has ended and waits for its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]


def exists(pid: int) -> bool:
    """Whether some process has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
