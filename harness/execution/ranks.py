"""Units that several processes share: `start` lets torchrun start the ranks, each of which runs this file.

On several machines it is called once on each, which `NODES` in the environment tells of the others. A launcher may as well start
torchrun itself: `torchrun … -m modbench.harness.execution.ranks RUN UNIT`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from modbench.harness.core import graceful_stop, leash, torchrun
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.device_lost import DeviceLost
from modbench.harness.execution import worker
from modbench.harness.execution.unit import planned
from modbench.harness.results.run_folder import RunFolder

MODULE = "modbench.harness.execution.ranks"
# JSON of `Nodes`, where a unit's ranks are on several machines.
NODES = "MODBENCH_NODES"
# Exit codes that say more than that a rank failed, and what torchrun ends the other ranks with.
TELLING, ENDED = (
    (DeviceLost.exit_code, graceful_stop.CannotWrite.exit_code, graceful_stop.Stopped.exit_code),
    -signal.SIGTERM,
)


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The machines that share a unit; the ranks of the first one have the lowest numbers.

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

    def told(self) -> str:
        """What `NODES` says in the environment."""
        return json.dumps(dataclasses.asdict(self))

    def options(self) -> list[str]:
        """Options of torchrun, which is started on each."""
        first = ["--master-addr", self.address, "--master-port", str(self.port)]
        return ["--nnodes", str(self.number), "--node-rank", str(self.this), *first]


def start(unit: UnitOfWork, folder: RunFolder) -> int:
    """Run a unit on its ranks; returns the code of the rank that ended the unit, 0 if all ended well, negative for a signal.

    Raises:
        Stopped: if it was asked to end before it had started ranks.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if graceful_stop.ASK is not None:
        signal.signal(graceful_stop.ASK, _pass_on)
    if graceful_stop.asked():  # before the handler was set
        raise graceful_stop.Stopped
    nodes = Nodes(**json.loads(said)) if (said := os.environ.get(NODES)) else None
    here = unit.ranks // (nodes.number if nodes else 1)
    options = nodes.options() if nodes else ["--standalone"]
    # Without restarts: a rank that dies ends the unit.
    options += ["--nproc-per-node", str(here), "--max-restarts", "0"]
    try:
        run.run(run.parse_args([*options, "-m", MODULE, str(folder.path), unit.name]))
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
    asked = _children()
    for child in asked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
    if not asked:
        raise graceful_stop.Stopped


def _children() -> list[int]:
    listed = Path("/proc/self/task").glob("*/children")
    return [int(child) for each in listed for child in each.read_text(encoding="ascii").split()]


def heed_torchrun() -> None:
    """Where SIGTERM is blocked, since Slurm sends it to every process of a job, let that of torchrun end this rank."""
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str]) -> None:
    """Run a unit of a run folder as one of its ranks."""
    code = 1
    try:
        leash.end_with_parent()
        heed_torchrun()
        graceful_stop.listen()
        path, name = arguments
        folder, ranks = RunFolder(Path(path)), torchrun.from_environment()
        unit = planned(folder.path, name)
        from modbench.harness.training.parallel import together

        with together(ranks, unit.comparison.place.device):
            record = worker.run_unit(unit, folder, ranks)
            if any(outcome.status == "failed" for outcome in record.outcomes):
                worker.end(1)  # the others may wait for this rank
        code = 0
    except BaseException as error:  # noqa: BLE001  # the process ends with it; its traceback goes to the log
        traceback.print_exc()
        code = worker.code_of(error)
    finally:
        worker.end(code)


if __name__ == "__main__":
    main(sys.argv[1:])
