"""Asking programs, and reading files of the kernel."""

from __future__ import annotations

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

    What measures is started as a child that is tied to this process (`child.py`).

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
