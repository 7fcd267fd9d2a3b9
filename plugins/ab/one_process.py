"""Times one job of a run folder in this process, in turns with others: `python one_process.py RUN UNIT ASK GRANTED`.

A whole `modbench run` plans, counts and reports around a second of timing; a process of a block needs the timing alone. This file
runs under the interpreter of either side, with the modbench that it finds there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from modbench.extend import RunFolder, check_timed_calls, interleave, planned_job, run_job


def take_turns(ask: int, granted: int) -> None:
    """Let this process take turns with others that are alive beside it and compute one after the other, round by round.

    Processes that follow one another lie ten seconds apart, in which a shared machine's speed changes by more than the effect
    that is looked for. Rounds that alternate lie less than a second apart. A process asks for its turn by a byte into one pipe,
    and has it once it can read one from the other; its next question, or its end, hands the turn back.

    Args:
        ask: file descriptor that takes the questions.
        granted: file descriptor that holds one byte for each turn.
    """

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
    interleave.its_turn = wait


if __name__ == "__main__":
    run, name = Path(sys.argv[1]), sys.argv[2]
    take_turns(int(sys.argv[3]), int(sys.argv[4]))
    check_timed_calls.leave_out("the validity checks ran when the side was prepared, not in this process")
    run_job(planned_job(run, name), RunFolder(run))
