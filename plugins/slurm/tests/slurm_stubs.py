"""Jobs of milliseconds: what a Slurm job runs in the tests instead of a measurement. It loads no torch."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from present import present
from quiet import Quiet, folder_at

from modbench.harness.domain.case import Job
from modbench.harness.results.run_folder import RunFolder

if TYPE_CHECKING:
    from modbench.harness.planning.plan import Plan

WORK = """
import json, os, pathlib, signal, sys, time
folder, name, text, file = sys.argv[1:]
seconds = float(os.environ.get("STUB_SECONDS", "0"))
node = os.environ.get("SLURM_PROCID", "0")
kept = pathlib.Path(folder) / f"{name}.kept"
stopped = []
signal.signal(signal.SIGUSR1, lambda *_: stopped.append(True))
if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
    seconds = 0
with open(pathlib.Path(folder) / "starts", "a") as starts:
    starts.write(f"{name} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
again = kept.exists()
end = time.monotonic() + (0 if again else seconds)
while time.monotonic() < end:
    time.sleep(0.02)
    if stopped or (kept.exists() and not again):  # ranks agree on the end
        kept.touch()
        sys.exit(75)
if node != "0":  # the first rank writes the record
    sys.exit()
record = {"job": json.loads(text), "started": "2026-01-01T00:00:00+00:00", "wall_s": 0.1, "outcomes": []}
part = pathlib.Path(file).with_suffix(".part")
part.write_text(json.dumps(record))
part.replace(file)
with open(pathlib.Path(folder) / "ends", "a") as ends:
    ends.write(name + "\\n")
"""


@dataclass
class StubHandle:
    """A stub at work."""

    job: Job
    process: subprocess.Popen[bytes]
    record: Path
    died: None = None

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def exitcode(self) -> int | None:
        return self.process.poll()


class StubLauncher:
    """Starts stubs, as the local launcher starts jobs."""

    is_remote = False

    def __init__(self, **_: Any) -> None:
        pass

    def at_once(self, usual: int) -> int:
        return usual

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> StubHandle:
        del timeout_s
        arguments = [str(folder.path), job.name, job.model_dump_json(), str(folder.record(job))]
        return StubHandle(job, subprocess.Popen([sys.executable, "-c", WORK, *arguments]), folder.record(job))

    def wait(self, handles: list[StubHandle], timeout_s: float) -> list[StubHandle]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            handles[0].process.wait(timeout_s)
        return [] if handles[0].running else handles

    def ask(self, handle: StubHandle) -> None:
        os.kill(handle.process.pid, signal.SIGUSR1)

    def end(self, handle: StubHandle) -> None:
        if handle.running:
            handle.process.kill()
        handle.process.wait()


@functools.cache
def stub_plan(*, trains: bool = True) -> Plan:
    """Counts and memory, two comparisons that are timed, and training runs unless they are left out."""
    from modbench.harness.planning.load_suite import parse_suite
    from modbench.harness.planning.plan import make_plan, read_corpus

    suite: dict[str, Any] = {
        "name": "stubs",
        "effort": "smoke",
        "metrics": ["flops/forward", "latency/forward", "latency/train_step", "memory/peak_allocated"],
        "shape": {"d_model": 32, "n_layers": 2, "n_heads": 2},
        "grid": {"seq_len": [16, 32], "batch_size": [1]},
        "variants": [{"model": "dense"}, {"model": "mod", "capacity": 0.5}],
    }
    if not trains:
        return make_plan(parse_suite(suite, "stubs"), device="cpu")
    suite["metrics"].append("loss/val")
    suite["train"] = {"seq_len": 16, "batch_size": 2, "tokens": 64, "val_tokens": 64}
    parsed = parse_suite(suite, "stubs")
    return make_plan(parsed, device="cpu", text=read_corpus(parsed))


def jobs_of(*made_in: str, trains: bool = True) -> list[Job]:
    """The jobs of some passes."""
    return [job for job in stub_plan(trains=trains).jobs if job.made_in in made_in]


def on_ranks(ranks: int) -> Job:
    """A training job that several processes share."""
    job = jobs_of("train")[0]
    train = present(job.protocol.train).model_copy(update={"ranks": ranks})
    return job.model_copy(update={"protocol": job.protocol.model_copy(update={"train": train})})


def work(jobs: Sequence[Job], folder: RunFolder, *options: str, grace_s: float = 1.0) -> None:
    """Run jobs through Slurm as the runner does; stubs stand in for measurements.

    A Slurm job that is requeued counts as failed for some seconds: who waits for it gives it a longer grace.
    """
    from modbench.harness.execution.run_phase import Run, Slots
    from modbench.plugins.slurm import launcher as slurm

    hurried = mock.patch.multiple(slurm, GRACE_S=grace_s, ASK_S=0.4, LOOK_S=0.1)  # this controller serves nobody else
    with hurried, mock.patch.object(slurm.SlurmLauncher, "inside", StubLauncher):
        launcher = slurm.SlurmLauncher(cold=True, threads=1, options=options)
        slots = Slots(tuple(jobs), launcher.at_once(1))
        Run(launcher, folder, Quiet()).phase(slots, {job.name: 60.0 for job in jobs})


def lines(file: Path) -> list[str]:
    """What stubs wrote: each line is one start or one end."""
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":  # a submitter of its own, which a test kills
    counts = [job for job in stub_plan(trains=False).jobs if job.made_in == "count"]
    work(counts, folder_at(Path(sys.argv[1])), *sys.argv[2:])
