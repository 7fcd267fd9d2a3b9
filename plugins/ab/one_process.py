"""Times one job of a run folder in this process, in turns with others: `python one_process.py RUN UNIT ASK GRANTED`.

A whole `modbench run` plans, counts and reports around a second of timing; a process of a block needs the timing alone. This file
runs under the interpreter of either side, with the modbench that it finds there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modbench.extend import RunFolder, check_timed_calls, interleave, planned_job, run_job

if __name__ == "__main__":
    run, name = Path(sys.argv[1]), sys.argv[2]
    interleave.take_turns(int(sys.argv[3]), int(sys.argv[4]))
    check_timed_calls.leave_out("the validity checks ran when the side was prepared, not in this process")
    run_job(planned_job(run, name), RunFolder(run))
