"""One of the ranks that share a job: torchrun starts it (`ranks.py`).

A launcher may as well start torchrun itself: `torchrun … -m modbench.harness.execution.rank RUN JOB`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from modbench.harness.execution import worker
from modbench.harness.execution.ranks import PARENT
from modbench.harness.machine.process import child, graceful_stop, torchrun
from modbench.harness.results.run_folder import RunFolder, planned_job


def heed_torchrun() -> None:
    """Where SIGTERM is blocked, since Slurm sends it to every process of a job, let that of torchrun end this rank."""
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run a job of a run folder as one of its ranks, and end this process."""
    worker.ending(partial(_run, *arguments))


def _run(path: str, name: str) -> int:
    child.end_with_parent(int(os.environ.get(PARENT, os.getppid())))
    heed_torchrun()
    graceful_stop.listen()
    folder, ranks = RunFolder(Path(path)), torchrun.from_environment()
    job = planned_job(folder.path, name)
    from modbench.harness.training.parallel import together

    with together(ranks, job.comparison.grid_point.device):
        record = worker.run_job(job, folder, ranks)
        if any(outcome.status == "failed" for outcome in record.outcomes):
            worker.end(1)  # the others may wait for this rank
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
