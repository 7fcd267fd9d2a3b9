"""Jobs that several processes share: `start` lets torchrun start the ranks, each of which runs `rank.py`.

On several machines it is called once on each, which learns of the others from the environment variable `NODES`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from modbench.harness.domain.case import Job
from modbench.harness.machine.process import graceful_stop
from modbench.harness.machine.process.graceful_stop import CannotWrite, DeviceLost, ProcessChangedError, Stopped
from modbench.harness.results.run_folder import RunFolder

MODULE = "modbench.harness.execution.rank"
# JSON of `Nodes`, where a job's ranks are on several machines.
NODES = "MODBENCH_NODES"
# Process id of the job's process, with which its ranks end: torchrun gives each a session of its own.
PARENT = "MODBENCH_PARENT"
# Exit codes that say more than that a rank failed, and what torchrun ends the other ranks with.
TELLING, ENDED = (
    (DeviceLost.exit_code, ProcessChangedError.job_code, CannotWrite.exit_code, Stopped.exit_code),
    -signal.SIGTERM,
)


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The machines that share a job; the ranks of the first one have the lowest numbers.

    Attributes:
        number: how many there are.
        this: number of this one, from 0.
        address: where the first one is reached.
        port: where its torchrun listens.
    """

    number: int
    this: int
    address: str
    port: int

    def as_variable(self) -> str:
        """The value of the environment variable `NODES`."""
        return json.dumps(dataclasses.asdict(self))

    def options(self) -> list[str]:
        """Options of torchrun, which is started on each."""
        first = ["--master-addr", self.address, "--master-port", str(self.port)]
        return ["--nnodes", str(self.number), "--node-rank", str(self.this), *first]


def start(job: Job, folder: RunFolder) -> int:
    """Run a job on its ranks; returns the code of the rank that ended the job, 0 if all ended well, negative for a signal.

    Raises:
        Stopped: if it was asked to end before it had started ranks.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if graceful_stop.STOP_SIGNAL is not None:
        signal.signal(graceful_stop.STOP_SIGNAL, _pass_on)
    if graceful_stop.stop_requested():  # before the handler was set
        raise graceful_stop.Stopped
    nodes = Nodes(**json.loads(said)) if (said := os.environ.get(NODES)) else None
    here = job.ranks // (nodes.number if nodes else 1)
    options = nodes.options() if nodes else ["--standalone"]
    os.environ[PARENT] = str(os.getpid())
    # Without restarts: a rank that dies ends the job.
    options += ["--nproc-per-node", str(here), "--max-restarts", "0"]
    try:
        run.run(run.parse_args([*options, "-m", MODULE, str(folder.path), job.name]))
    except ChildFailedError as error:
        sys.stderr.write(f"{error}\n")
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        sys.stderr.write(f"exit codes by rank: {codes}\n")
        return cause(list(codes.values()))
    return 0


def cause(codes: Sequence[int]) -> int:
    """Of the exit codes of ranks the one that says most: others fail because that rank is gone."""

    def says(code: int) -> int:
        if code < 0 and code != ENDED:
            return 0
        return 1 if code in TELLING else 2 if code > 0 else 3

    return min(codes, key=says)


def _pass_on(number: int, _frame: FrameType | None) -> None:
    """Ask the ranks what this process was asked; before there are any, nothing is lost by an end at once."""
    import psutil

    asked = psutil.Process().children()
    for child in asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.send_signal(number)
    if not asked:
        raise graceful_stop.Stopped
