"""Runs a job inside its process: sets threads, runs the pass, writes the record."""

from __future__ import annotations

import contextlib
import json
import multiprocessing.util
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from modbench.harness.core.atomic_files import now
from modbench.harness.domain.case import GridPoint, Job
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.records import Blocks, Environment, Outcome, Record
from modbench.harness.execution import ranks
from modbench.harness.machine.process import child, clocks, exit_codes, graceful_stop
from modbench.harness.machine.process.torchrun import ALONE, Ranks
from modbench.harness.registry import catalogue, plugin_manifests, user_code
from modbench.harness.results import user_files, workspace
from modbench.harness.results.record_checks import usable
from modbench.harness.results.run_folder import RunFolder

if TYPE_CHECKING:
    from modbench.harness.domain.passes import Pass, Yielded

# Kinds of failure that begin with an exception, whose traceback is printed.
TOLD = {"error", "oom", "numerics"}
# What a launcher on a cluster knows of its node, for the record: JSON of fields of `Environment`.
NODE = "MODBENCH_NODE"


@dataclass(frozen=True)
class Ties:
    """What a worker is told about its surroundings.

    Attributes:
        parent: process id of who starts it: the runner, or the fork server.
        prints: where it prints.
        include: the user's folders; a fork server keeps the environment in which it was started, as of an earlier run.
    """

    parent: int
    prints: Connection
    include: str

    def tie(self) -> None:
        """Tie this process to its parent, and let it and what it starts print to its log."""
        child.tie(self.parent)
        os.environ[plugin_manifests.VARIABLE] = self.include
        for stream in (1, 2):
            os.dup2(self.prints.fileno(), stream)
        self.prints.close()


def work(job_json: str, run_folder: str, held: Ties) -> NoReturn:
    """Run one job and end the process.

    Args:
        job_json: the job.
        run_folder: takes its record.
        held: its surroundings.
    """
    ending(partial(_work, job_json, run_folder, held))


def _work(job_json: str, run_folder: str, held: Ties) -> int:
    graceful_stop.listen()
    held.tie()
    job, folder = Job.model_validate_json(job_json), RunFolder(Path(run_folder))
    if folder.record(job).exists():
        # A fork server was killed after it started the job and before it said so: that process wrote the record.
        return 0
    if job.ranks > 1:
        return ranks.start(job, folder)
    run_job(job, folder)
    return 0


def ending(call: Callable[[], int]) -> NoReturn:
    """Make a call and end this process by the code that it returns, or that of what it raised, which is printed."""
    code = 1
    try:
        code = call()
    except BaseException as error:  # noqa: BLE001  # the process ends with it; its traceback goes to the log
        traceback.print_exc()
        code = exit_codes.code_of_job(error)
    finally:
        end(code)


def end(code: int) -> NoReturn:
    """End this process, whatever threads a model left running; with a negative code, of that signal."""
    try:
        # Semaphores (of the compiler) would otherwise outlive this process, and Python would report a leak.
        with contextlib.suppress(Exception):
            multiprocessing.util._run_finalizers()  # type: ignore[attr-defined]  # noqa: SLF001  # as at a normal exit
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        if code < 0:
            exit_codes.by_signal(-code)
        os._exit(code)


def run_job(job: Job, folder: RunFolder, ranks: Ranks = ALONE) -> Record:
    """Run one job and write its record to the run folder; of several ranks the first one writes."""
    user_code.settle()
    here, began = workspace.Workspace(folder.path, job.name, ranks), os.getpid()
    with workspace.at(here):
        record = with_log(make_record(job), folder)
    if os.getpid() != began:  # a model forked, and this is its child: a job has one record
        os._exit(0)
    sys.stdout.flush()
    sys.stderr.flush()
    if ranks.first:
        if record.environment is not None and ranks.world > 1:
            together = record.environment.model_copy(update={"ranks": ranks.world})
            record = record.model_copy(update={"environment": together})
        with graceful_stop.writing():
            folder.write_record(record)
        here.tidy()
    return record


def with_log(record: Record, folder: RunFolder) -> Record:
    """Name the job's log in the reason of every failure that left its traceback there, unless the log is empty."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = folder.log(record.job)
    if not log.exists() or not log.stat().st_size:
        return record
    where = f"; see {log.relative_to(folder.path).as_posix()}"
    outcomes = tuple(
        each.model_copy(update={"reason": f"{each.reason}{where}"}) if each.kind in TOLD else each
        for each in record.outcomes
    )
    return record.model_copy(update={"outcomes": outcomes})


def environment_of(grid_point: GridPoint) -> Environment:
    """Describe this process before it loads a model, which could change what is described."""
    import torch

    environment = Environment(
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        pid=os.getpid(),
        host=socket.gethostname(),
        **json.loads(os.environ.get(NODE, "{}")),
    )
    if grid_point.device != "cuda":
        return environment
    from modbench.harness.call.subject import process_settings

    # torch's device 0, which may differ from NVML's: CUDA_VISIBLE_DEVICES hides and reorders devices.
    properties = torch.cuda.get_device_properties(0)
    found = {
        "device": properties.name,
        "device_uuid": str(properties.uuid),
        "cudnn": torch.backends.cudnn.version(),
        "attention": process_settings.attention(),
        "fp32_precision": process_settings.fp32_precision(),
        "variables": process_settings.variables(),
    }
    return environment.model_copy(update=found)


def make_record(job: Job) -> Record:
    """Run a job in this process and return its record."""
    import torch

    grid_point = job.comparison.grid_point
    torch.set_num_threads(grid_point.threads)
    environment = environment_of(grid_point)
    if grid_point.compile:
        # All variants share one forward method: the default limit of 8 would silently run the ninth variant eagerly.
        torch._dynamo.config.recompile_limit = 64 * len(job.comparison.variants)  # noqa: SLF001  # its documented place
        torch._dynamo.config.fail_on_recompile_limit_hit = True  # noqa: SLF001  # its documented place
    here = Path.cwd()  # a model may leave it
    started, start = now(), clocks.perf_counter()
    wanted = [catalogue.find_metric(made.key) for made in job.facts.makes]
    made_in: Pass = catalogue.load("passes", job.made_in)
    made: list[Yielded] = list(made_in.run(job, wanted))
    _check_notes(made_in, made)
    record = Record(
        job=job,
        started=started,
        wall_s=clocks.perf_counter() - start,
        environment=environment,
        outcomes=tuple(each for each in made if isinstance(each, Outcome)),
        findings=next((each for each in made if isinstance(each, Notes)), None),
        blocks=tuple(each for each in made if isinstance(each, Blocks)),
        busy=tuple(clocks.INTERVALS),
        code=user_files.loaded([job], here),
    )
    return usable(record)


def _check_notes(made_in: Pass, made: Sequence[Yielded]) -> None:
    """A record could not be read back if a pass left other models than it names."""
    for each in made:
        kind = type(each.notes) if isinstance(each, Outcome) else type(each)
        allowed = {Notes, made_in.notes} if isinstance(each, Outcome) else {Blocks, made_in.findings}
        assert kind in allowed, f"pass {made_in.name} left {kind.__name__}, which it does not name"
