"""Processes that are timed side by side: they are alive together, and compute one after the other, round by round.

Processes that follow one another lie ten seconds apart, in which a shared machine's speed changes by more than the effect that is
looked for. Rounds that alternate lie less than a second apart. A process asks for its turn by a byte into one pipe, and has it
once it can read one from the other; its next question, or its end, hands the turn back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

# Waits for this process's turn; None: it is timed by itself.
take: Callable[[], None] | None = None


def between(ask: int, granted: int) -> None:
    """Let this process take turns.

    Args:
        ask: file descriptor that takes the questions.
        granted: file descriptor that holds one byte for each turn.
    """
    global take  # noqa: PLW0603  # set once, by what starts the process

    def wait() -> None:
        os.write(ask, b"?")
        if not os.read(granted, 1):
            raise SystemExit("the process that grants turns is gone")

    def leave() -> None:
        for each in (ask, granted):
            with contextlib.suppress(OSError):
                os.close(each)

    # A process that a model forks must not hold the pipes open after this one has ended.
    os.register_at_fork(after_in_child=leave)
    take = wait
