"""Processes of a comparison in fresh processes, which get models and inputs by pickle and import nothing of the user's script."""

from __future__ import annotations

import functools
import pickle
import pickletools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.extend import ModbenchError, UsageError, call_in_process, human_duration, in_short
from modbench.plugins.python.callables import TimingProcess
from modbench.plugins.python.threads import working_threads

if TYPE_CHECKING:
    from modbench.plugins.python.job import Job

JOB_FILE = "job.pickle"
ALTERNATIVES = "Define it in a module and import it, or leave out processes=."


def processes(job: Job, number: int, limit_s: float) -> list[TimingProcess]:
    """Measure in so many processes, one after the other; one that takes longer than the limit counts as hanging.

    Raises:
        UsageError: if a model or input cannot be sent to another process.
        ModbenchError: if a process fails, or hangs.
    """
    check(job)
    with tempfile.TemporaryDirectory(prefix="modbench-") as folder:
        return [_process(Path(folder), job.for_process(i), i, limit_s) for i in range(number)]


def check(job: Job) -> None:
    """Check that a job can be sent to another process.

    Raises:
        UsageError: if something in it has no form that another process could read.
    """
    for name, model in job.models.items():
        _refuse_main(_pickle(model, f"model {name!r}"), f"model {name!r}")
    _refuse_main(_pickle(job, "an input or the loss"), "an input or the loss")


def _pickle(value: object, name: str) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever a user's object raises
        raise UsageError(f"{name} cannot be sent to another process: {in_short(error)}. {ALTERNATIVES}") from error


def _refuse_main(content: bytes, name: str) -> None:
    """Refuse objects defined in the script or notebook: another process would have to run it to get them."""
    if b"__main__" in content and any(argument == "__main__" for _, argument, _ in pickletools.genops(content)):
        raise UsageError(
            f"{name} is defined in this script or notebook, which another process cannot import. {ALTERNATIVES}"
        )


def _process(folder: Path, job: Job, number: int, limit_s: float) -> TimingProcess:
    threads = working_threads()
    file, made, log = folder / JOB_FILE, folder / f"process{number}.pickle", folder / f"process{number}.log"
    file.write_bytes(_pickle(job, "the comparison"))
    ended = call_in_process(functools.partial(child, str(file), str(made), threads), log, limit_s, threads)
    if ended is None:
        raise ModbenchError(f"process {number + 1} exceeded its limit of {human_duration(limit_s)} and was ended.")
    code, said = ended
    if code:
        raise ModbenchError(f"process {number + 1} failed: {said}")
    process: TimingProcess = pickle.loads(made.read_bytes())  # noqa: S301  # written by our own process just now
    return process


def child(job_file: str, process_file: str, threads: int) -> None:
    """Measure one process; runs in a process of its own."""
    import torch

    torch.set_num_threads(threads)
    job: Job = pickle.loads(Path(job_file).read_bytes())  # noqa: S301  # written by the process that started this one
    Path(process_file).write_bytes(pickle.dumps(job.measure_and_check()))
