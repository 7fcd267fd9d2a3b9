"""Runs inside a Slurm job: the jobs of one task, one after the other, as on any machine.

A Slurm job decides from the run folder: a job with a record is not run again. When Slurm tells it of its end, a job that
trains saves a checkpoint and a timed one is measured to its end; submitit then puts the Slurm job back into the queue,
whether or not its submitter still lives. Where ranks of a job are on several nodes, each of these runs this. The first one
writes the record.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

from modbench.extend import (
    EFFORTS,
    NODE,
    Death,
    Job,
    Launcher,
    LocalLauncher,
    MakeLauncher,
    ModbenchError,
    Run,
    RunFolder,
    Slots,
    Stop,
    Stopped,
    certificate,
    death,
    environment,
    ranks,
    read_record,
    write_atomically,
    write_failure,
)

# Seconds between two looks at the run folder, and those that a node waits for another.
LOOK_S, REST_S = 1.0, 15.0
# Ports of torchrun: below those that systems give away themselves. Slurm jobs that share a node have different ids.
FIRST_PORT, PORTS = 16_000, 16_000
# Slurm sends USR2 before the time limit, and SIGTERM when it ends a Slurm job: to every process of it.
SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


@dataclass(frozen=True)
class Task:
    """The jobs of one task of an array. submitit pickles it into the submission's folder, and calls it in the job.

    Attributes:
        folder: the run folder.
        place: the submission's folder.
        index: number of the task.
        jobs: each job, and its limit in s.
        make: makes the launcher that starts jobs on the node.
    """

    folder: RunFolder
    place: Path
    index: int
    jobs: tuple[tuple[Job, float], ...]
    make: MakeLauncher = LocalLauncher

    def __call__(self) -> None:
        """Run the jobs that have no record."""
        import submitit

        slurm_job = submitit.JobEnvironment()
        rest = [job for job, _ in self.jobs if not self.folder.record(job).exists()]
        if not rest:
            return
        if slurm_job.num_nodes > 1:
            # srun was started on the first node.
            where = os.environ["SLURM_LAUNCH_NODE_IPADDR"], FIRST_PORT + int(slurm_job.raw_job_id) % PORTS
            os.environ[ranks.NODES] = ranks.Nodes(slurm_job.num_nodes, slurm_job.node, *where).as_variable()
        place = rest[0].comparison.grid_point
        launcher = Shielded(self.make(cold=True, threads=place.threads, device=place.device))
        if slurm_job.node:
            self._follow(rest[0], launcher, slurm_job.node)
        else:
            os.environ[NODE] = json.dumps(node(rest[0]))
            self._lead(rest, launcher)

    def checkpoint(self) -> Any:  # noqa: ANN401  # an optional package
        """What submitit starts when the Slurm job runs again: the same, since the run folder says what is left."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _lead(self, rest: Sequence[Job], launcher: Launcher[Any]) -> None:
        stop, heard = Stop(), set[int]()

        def hear(number: int, frame: FrameType | None) -> None:
            heard.add(number)
            stop.finishing = True
            if number == signal.SIGTERM and not rest[0].facts.trains:
                stop.take(number, frame)  # at once: half a measurement is none

        of_submitit, _ = (signal.signal(number, hear) for number in SIGNALS)
        slots, limits = Slots(tuple(rest), 1), {job.name: limit_s for job, limit_s in self.jobs}
        try:
            Run(launcher, self.folder, _Ended(self), stop=stop).phase(slots, limits)
        except KeyboardInterrupt:
            if signal.SIGTERM not in heard:  # else Slurm decides whether it starts this Slurm job again
                signal.signal(signal.SIGUSR2, of_submitit)
                signal.raise_signal(signal.SIGUSR2)

    def _follow(self, job: Job, launcher: Launcher[Any], number: int) -> None:
        """Run the ranks of a further node. If they die, those of the first node may wait for them for ever.

        Raises:
            ModbenchError: if they died.
        """
        folder = OnNode(self.folder.path, number=number)
        handle, since = launcher.start(job, folder, self.jobs[0][1]), None
        while not launcher.wait([handle], LOOK_S):
            since = since or (time.monotonic() if self._has_ended(job) else None)
            if since is not None and time.monotonic() - since >= REST_S:
                break
        timed_out = handle.running
        launcher.end(handle)
        if timed_out or handle.exitcode in {0, Stopped.exit_code}:
            return
        cause = death(handle.exitcode, timed_out=False)
        if handle.exitcode < 0:  # ranks that fail otherwise mostly do so because another is gone
            write_atomically(died_file(self.place, self.index), cause.model_dump_json())
        until = time.monotonic() + REST_S
        while not self._has_ended(job) and time.monotonic() < until:
            time.sleep(LOOK_S)
        if not self.folder.record(job).exists():
            write_failure(job, self.folder, cause)
        raise ModbenchError(cause.reason)  # srun then ends the task of the first node

    def _has_ended(self, job: Job) -> bool:
        return job.name in ended_jobs(self.place, self.index)


def ended_jobs(place: Path, index: int) -> list[str]:
    """Names of the jobs of a task whose records are complete: the Slurm job may add a note to what a job's process wrote."""
    file = place / f"{index}.ended"
    return file.read_text(encoding="utf-8").split("\n") if file.exists() else []


def died_file(place: Path, index: int) -> Path:
    """Says how the ranks on a further node died."""
    return place / f"{index}.died.json"


@dataclass(frozen=True)
class _Ended:
    """Progress that notes which jobs have ended."""

    task: Task

    def started(self, job: Job) -> None:
        pass

    def tick(self) -> None:
        pass

    def added(self, group: str, jobs: Sequence[Job]) -> None:
        pass

    def ended(self, job: Job) -> None:
        if ranks.NODES in os.environ:
            self._explain(job)
        with (self.task.place / f"{self.task.index}.ended").open("a", encoding="utf-8") as file:
            file.write(f"{job.name}\n")

    def _explain(self, job: Job) -> None:
        """Where a job of several nodes failed, let its record say how ranks on another died: the first node only lost them."""
        record = read_record(self.task.folder.record(job), job)
        if record.died is None and all(each.status != "failed" for each in record.outcomes):
            return
        file, until = died_file(self.task.place, self.task.index), time.monotonic() + REST_S
        while not file.exists() and time.monotonic() < until:
            time.sleep(LOOK_S)
        if file.exists():
            write_failure(job, self.task.folder, Death.model_validate_json(file.read_bytes()))


@contextlib.contextmanager
def blocked(*signals: signal.Signals) -> Iterator[None]:
    """Block signals in processes that are started in the `with` block; for this process they wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


@dataclass(frozen=True)
class Shielded:
    """A launcher whose workers do not die of what Slurm tells the Slurm job: this process hears it, and tells its worker."""

    inside: Launcher[Any]

    def at_once(self, usual: int) -> int:
        """How many jobs run at once: those of a task run one after the other, however many GPUs the Slurm job has."""
        return usual

    def start(self, *args: Any) -> Any:  # noqa: ANN401  # as the launcher inside
        """Start a job."""
        resource_tracker.ensure_running()  # else the first worker's start does, which unblocks SIGTERM again
        with blocked(*SIGNALS):
            return self.inside.start(*args)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.inside, name)


@dataclass(frozen=True)
class OnNode(RunFolder):
    """A run folder as a node sees it that is not the first one: what its ranks print goes to a log of its own.

    Attributes:
        number: number of the node in its job.
    """

    number: int = field(default=0, kw_only=True)

    def log(self, job: Job) -> Path:
        """Path of what the job's processes on this node printed."""
        return super().log(job).with_suffix(f".node{self.number}.log")


def node(job: Job) -> dict[str, Any]:
    """Facts of this node, for the job's record: fingerprint, hardware in words, the certificate that it has here."""
    where, place = environment.collect(), job.comparison.grid_point
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
