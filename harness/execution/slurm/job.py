"""Runs inside a job: the units of one task, one after the other, by the same launcher as on any machine.

A job decides from the run folder: a unit with a record is not run again. Before the time limit, and when Slurm ends the job, a
unit that trains saves a checkpoint; the job then puts itself back into the queue, whether or not its submitter still lives.
Where ranks of a unit are on several nodes, each of these runs this; what concerns the whole job is left to the first one.
They tell each other in the run folder that their processes have ended. Without that, ranks would wait for those of a node that
is done, some of them for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.suite import EFFORTS
from modbench.harness.execution import ranks
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.launching import MakeLauncher
from modbench.harness.execution.phase import drop_empty_log
from modbench.harness.execution.slurm import queue
from modbench.harness.execution.worker import NODE
from modbench.harness.machine import certificate, environment
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
        return ranks.Nodes(self.number, self.this, address, port).as_variable()

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


POLL_S = 5.0
# A signal that comes earlier than this before the end of the job, besides the delay that was asked for, announces a preemption.
SLACK_S = 60


@dataclass(frozen=True)
class Task:
    """The units of one task of an array.

    Attributes:
        run: the run folder.
        token: the submission's.
        index: number of the task.
        units: JSON of each unit, and its limit in s.
        requeues: how often the job may put itself back into the queue.
        signal_s: seconds before the time limit at which Slurm sends USR2.
        make: makes the launcher that starts units on the node.
    """

    run: str
    token: str
    index: int
    units: tuple[tuple[str, float], ...]
    requeues: int
    signal_s: int
    make: MakeLauncher = field(default=LocalLauncher)


def run_task(task: Task) -> None:
    """Run a task; what submitit starts in a job."""
    if not attempts.is_void(Path(task.run), task.token, task.index):
        _Work(task).run()


class _Work:
    """A task at work. `why` is set when it has to stop."""

    def __init__(self, task: Task) -> None:
        self.task, self.folder = task, RunFolder(Path(task.run))
        self.job = "_".join(
            os.environ[name] for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ
        ) or os.environ.get("SLURM_JOB_ID", "")
        self.restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        number, this = (int(os.environ.get(name, "0")) for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"))
        run = self.job, self.restart
        self.nodes = Nodes(self.folder.path, task.token, task.index, run, number, this) if number > 1 else None
        self.first = self.nodes is None or self.nodes.first
        self.why: attempts.How | None = None
        self.again = False
        self.unit: UnitOfWork | None = None
        self.pid: int | None = None

    def run(self) -> None:
        """Run the units that have no record."""
        signal.signal(signal.SIGUSR2, self._soon)
        signal.signal(signal.SIGTERM, self._now)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        units = [(UnitOfWork.model_validate_json(text), limit_s) for text, limit_s in self.task.units]
        rest = [(unit, limit_s) for unit, limit_s in units if not self.folder.record(unit).exists()]
        if rest and self.first:
            os.environ[NODE] = json.dumps(node(rest[0][0]))
        if rest and self.nodes is not None:
            os.environ[ranks.NODES] = self.nodes.where()
        for unit, limit_s in rest:
            if self.why is None:
                self._run(unit, limit_s)
        if self.first and self.again and any(not self.folder.record(unit).exists() for unit, _ in rest):
            self._requeue()

    def _run(self, unit: UnitOfWork, limit_s: float) -> None:
        place = unit.comparison.place
        launcher = self.task.make(cold=True, threads=place.threads, device=place.device)
        folder = self.folder if self.nodes is None or self.first else OnNode(self.folder.path, self.nodes.this)
        self._note("start", unit, host=socket.gethostname())
        self.unit = unit
        with _kept_from_workers(signal.SIGUSR2, *([signal.SIGTERM] if unit.facts.trains else [])):
            handle = launcher.start(unit, folder, limit_s)
        self.pid = getattr(getattr(handle, "process", None), "pid", None)
        if self.why is not None:  # the signal came before the process was there
            self._tell(self.why)
        ended: list[Any] = []
        until, given_up = time.monotonic() + limit_s, False
        while not ended and not given_up and time.monotonic() < until + 2 * POLL_S:
            ended = launcher.wait([handle], POLL_S if self.nodes is None else LOOK_S)
            given_up = not ended and self.nodes is not None and self.nodes.given_up()
        hung = handle.running and not given_up
        self.unit = self.pid = None
        launcher.end(handle)
        code = handle.exitcode
        if self.nodes is not None and not self.first:
            self._note("end", unit, how="done", exitcode=code)
            drop_empty_log(folder.log(unit))
            self.nodes.wait_for_first()
            return
        if self.nodes is not None and code and self.why is None:
            code = self.nodes.code(None if given_up else code)
            if code is not None and code < 0:  # the first rank only wrote that another was gone
                self.folder.record(unit).unlink(missing_ok=True)
        if self.folder.record(unit).exists():
            self._note("end", unit, how="done", exitcode=code)
        elif self.why is not None:
            self._note("end", unit, how=self.why, exitcode=code)
        else:
            self._note("end", unit, how="failed", exitcode=code, hung=hung)

    def _soon(self, _number: int, _frame: FrameType | None) -> None:
        """Slurm will end this job: it reaches its time limit, or is preempted."""
        end = float(os.environ.get("SLURM_JOB_END_TIME", "0"))
        self._stop(
            "time limit" if end and end - time.time() < self.task.signal_s + SLACK_S else "preempted", again=True
        )

    def _now(self, _number: int, _frame: FrameType | None) -> None:
        """Slurm ends this job. If it was preempted or requeued, Slurm also starts it again; if it was cancelled, nobody does."""
        self._stop("requeued", again=False)

    def _stop(self, why: attempts.How, *, again: bool) -> None:
        self.why, self.again = self.why or why, self.again or again
        self._tell(self.why)

    def _tell(self, why: attempts.How) -> None:
        """Let a unit that trains save a checkpoint; end another at once, unless there is time: half a measurement is none."""
        if self.unit is None or self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.unit.facts.trains:
                os.kill(self.pid, signal.SIGUSR1)
            elif why == "requeued":
                os.kill(self.pid, signal.SIGTERM)

    def _requeue(self) -> None:
        if self.restart >= self.task.requeues:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to do: the node is free at once
        if queue.requeue(self.job):
            time.sleep(queue.WAIT_S)  # Slurm ends this process; a return would complete the job

    def _note(self, event: str, unit: UnitOfWork, **more: object) -> None:
        line = {"event": event, "unit": unit.name, "job": self.job, "restart": self.restart, **more}
        this = 0 if self.nodes is None else self.nodes.this
        attempts.note(self.folder.path, self.task.token, self.task.index, line, node=this)


@contextlib.contextmanager
def _kept_from_workers(*signals: signal.Signals) -> Iterator[None]:
    """Block signals in processes that are started in the `with` block: Slurm sends them to every process of a job.

    This process is told, and tells its worker what to do; a worker that trains would die of them without a checkpoint.
    """
    resource_tracker.ensure_running()  # else the first worker's start does, which unblocks SIGTERM again
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def node(unit: UnitOfWork) -> dict[str, Any]:
    """Facts of this node, for the unit's record: fingerprint, hardware in words, the certificate that it has here."""
    where, place = environment.collect(), unit.comparison.place
    machine = certificate.fingerprint(where, place.device, place.threads)
    known = certificate.pooled(machine, EFFORTS["standard"][0])
    return {
        "machine": machine,
        "hardware": hardware(where, cuda=place.device == "cuda"),
        "certificate": known and known.__dict__,
    }


def hardware(where: dict[str, Any], *, cuda: bool) -> str:
    """A node's hardware in words, the same for nodes of one type: processor and cores, and the GPUs if they are used."""
    parts = [f"{where['cpu']}, {where['cores']} cores"]
    if cuda:
        parts += sorted({str(gpu["name"]) for gpu in where["gpu"]["devices"]})
    return "; ".join(parts)
