"""The nodes of a job whose unit has ranks on several: each runs the task, and what the first one notes counts.

They tell each other in the run folder that their processes have ended. Without that, ranks would wait for those of a node that
is done, some of them for ever.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.execution import ranks
from modbench.harness.execution.slurm import queue
from modbench.harness.results import attempts
from modbench.harness.results.run_folder import RunFolder

# Seconds between two looks at the notes of others, and those that ranks have to end by themselves once those of a node have.
LOOK_S, REST_S = 1.0, 15.0
# Ports of torchrun: below those that systems give away themselves. Jobs that share a node have different ids.
FIRST_PORT, PORTS = 16_000, 16_000


@dataclass(frozen=True)
class OnNode(RunFolder):
    """A run folder as a node sees it that is not the first one: what its ranks print goes to a log of its own.

    Attributes:
        node: number of the node in its job.
    """

    node: int = 0

    def log(self, unit: UnitOfWork) -> Path:
        """Path of what the unit's processes on this node printed."""
        return super().log(unit).with_suffix(f".node{self.node}.log")


@dataclass
class Nodes:
    """The nodes of this job, of which this process sees one.

    Attributes:
        folder: the run folder.
        token: the submission's.
        task: number of the task.
        run: id of the job, and how often Slurm had requeued it.
        number: how many nodes there are.
        this: number of this one, from 0.
        since: when another node was first seen to have ended, on the monotonic clock.
    """

    folder: Path
    token: str
    task: int
    run: tuple[str, int]
    number: int
    this: int
    since: float | None = None

    @property
    def first(self) -> bool:
        """Whether this node decides."""
        return self.this == 0

    def where(self) -> str:
        """What ranks are told: how many nodes there are, and where torchrun of the first one is found."""
        address = queue.address_of_first(os.environ["SLURM_STEP_NODELIST"])
        port = FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % PORTS
        return ranks.Nodes(self.number, self.this, address, port).told()

    def codes(self) -> list[int | None]:
        """Exit codes of the unit's processes on the other nodes that this one must know; None where they have not ended."""
        others = range(1, self.number) if self.first else (0,)
        return [attempts.ended_on(self.folder, self.token, self.task, node, self.run) for node in others]

    def given_up(self) -> bool:
        """Whether the processes here have nobody to work with any more, and have had their time to see it."""
        codes = self.codes()
        # The ranks of the first node go on when those of others have ended well: they evaluate.
        if not any(codes) if self.first else codes == [None]:
            return False
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since >= REST_S

    def code(self, own: int | None) -> int | None:
        """Of the exit codes of all nodes the one that says most, once all are known or had their time.

        Args:
            own: this node's; None if it is not known, or was ended from here.
        """
        until = time.monotonic() + REST_S
        while None in (codes := self.codes()) and time.monotonic() < until:
            time.sleep(LOOK_S)
        known = [code for code in (own, *codes) if code]
        return ranks.cause(known) if known else own

    def wait_for_first(self) -> None:
        """Wait until the first node has noted the end: whoever leaves before it would end it."""
        while self.codes() == [None]:
            time.sleep(LOOK_S)
