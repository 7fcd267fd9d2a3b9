"""Starts commands for `test_ab_suite_faults.py`: one process loads everything, each command is a fork of it.

Reads requests from standard input, one line of JSON each, and answers each with a line. A table (`root`, `words`, `python`,
`temporary`) starts a command: the answer is its process id, and the files that it prints to. A number waits for that process: the
answer is its exit code.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fault_process import Process, start

from modbench.plugins.ab import suites  # noqa: F401  # loaded before the first fork


def prepared(python: str, temporary: str) -> None:
    """In the command: what stands in for Python, and a limit that passes when a process hangs, however slow this machine is."""
    sys.executable, os.environ["TMPDIR"], tempfile.tempdir = python, temporary, None
    real = select.select

    def wait(reads: Iterable[Any], writes: Iterable[Any], errors: Iterable[Any], limit_s: float | None = None) -> Any:
        del limit_s
        while not (found := real(reads, writes, errors, 0.02))[0] and not Path("passed").exists():
            pass
        return found

    select.select = wait


def main() -> None:
    commands = dict[int, Process]()
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            print(commands[asked].wait(), flush=True)
            continue
        root, number = Path(asked["root"]), len(commands)
        command = start(asked["words"], root, number, lambda: prepared(asked["python"], asked["temporary"]))  # noqa: B023  # called at once
        commands[command.pid] = command
        print(json.dumps([command.pid, str(root / f"stdout-{number}"), str(command.said)]), flush=True)


if __name__ == "__main__":
    main()
