"""Launches of a comparison in fresh processes, which get models and inputs by pickle and import nothing of the user's script."""

from __future__ import annotations

import os
import pickle
import pickletools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.harness.core.errors import ModbenchError, UsageError, in_short
from modbench.harness.core.units import human_duration
from modbench.harness.execution import command
from modbench.harness.execution.keeper import Keeper
from modbench.harness.execution.launch.local import variables
from modbench.harness.execution.passed_on import passed_on
from modbench.harness.timing.callables import Launch
from modbench.harness.timing.threads import working_threads

if TYPE_CHECKING:
    from modbench.python.job import Job

# The file that holds the job.
SENT = "job.pickle"
WITHOUT = "Define it in a module and import it, or leave out launches=."


def launches(job: Job, number: int, limit_s: float) -> list[Launch]:
    """Measure in so many processes, one after the other.

    Args:
        job: what each measures.
        number: of processes.
        limit_s: seconds after which a process counts as hanging.

    Raises:
        UsageError: if a model or input cannot be sent to another process.
        ModbenchError: if a process fails, or hangs.
    """
    threads = working_threads()
    content, keeper = packed(job), Keeper()
    with keeper.temporary("modbench-") as folder:
        (folder / SENT).write_bytes(content)
        del content
        return [_launch(folder, i, threads, keeper, limit_s) for i in range(number)]


def packed(job: Job) -> bytes:
    """The job as bytes.

    Raises:
        UsageError: if something in it has no form that another process could read.
    """
    for name, model in job.models.items():
        _refuse_main(_pickled(model, f"model {name!r}"), f"model {name!r}")
    content = _pickled(job, "an input or the loss")
    _refuse_main(content, "an input or the loss")
    return content


def _pickled(what: object, called: str) -> bytes:
    try:
        return pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever a user's object raises
        raise UsageError(f"{called} cannot be sent to another process: {in_short(error)}. {WITHOUT}") from error


def _refuse_main(content: bytes, called: str) -> None:
    """Refuse objects defined in the script or notebook: another process would have to run it to get them."""
    if b"__main__" in content and any(argument == "__main__" for _, argument, _ in pickletools.genops(content)):
        raise UsageError(
            f"{called} is defined in this script or notebook, which another process cannot import. {WITHOUT}"
        )


def _launch(folder: Path, number: int, threads: int, keeper: Keeper, limit_s: float) -> Launch:
    sent, made, log = folder / SENT, folder / f"launch{number}.pickle", folder / f"launch{number}.log"
    code = "import sys; sys.path[:] = {!r}; from modbench.python import apart; apart.child({!r}, {!r}, {}, {})"
    words = [sys.executable, "-c", code.format(sys.path, str(sent), str(made), number, threads)]
    environment = passed_on(os.environ) | {"PYTHONSAFEPATH": "1"} | variables(threads)
    with command.started(words, environment, log, keeper, limit_s) as running:
        running.join(limit_s)
        hung = running.is_alive()
    if hung:
        raise ModbenchError(f"launch {number + 1} exceeded its limit of {human_duration(limit_s)} and was ended.")
    if running.exitcode:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        raise ModbenchError(
            f"launch {number + 1} failed: {said.rpartition(chr(10))[2] or f'exit code {running.exitcode}'}"
        )
    launch: Launch = pickle.loads(made.read_bytes())  # noqa: S301  # written by our own process just now
    return launch


def child(sent: str, made: str, number: int, threads: int) -> None:
    """Measure one launch; runs in a process of its own.

    Args:
        sent: file that holds the job.
        made: file that takes the launch.
        number: of the launch.
        threads: that compute.
    """
    import torch

    torch.set_num_threads(threads)
    job: Job = pickle.loads(Path(sent).read_bytes())  # noqa: S301  # written by the process that started this one
    Path(made).write_bytes(pickle.dumps(job.again(number).measure()))
