"""Launches of a comparison in fresh processes, which get models and inputs by pickle and import nothing of the user's script."""

from __future__ import annotations

import os
import pickle
import pickletools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.harness.core import leash
from modbench.harness.core.errors import ModbenchError, UsageError, in_short
from modbench.harness.execution.launch.local import variables
from modbench.harness.execution.passed_on import passed_on
from modbench.harness.timing.callables import Launch
from modbench.harness.timing.threads import working_threads

if TYPE_CHECKING:
    from modbench.python.job import Job

WITHOUT = "Define it in a module and import it, or leave out launches=."


def launches(job: Job, number: int) -> list[Launch]:
    """Measure in so many processes, one after the other.

    Raises:
        UsageError: if a model or input cannot be sent to another process.
        ModbenchError: if a process fails.
    """
    threads = working_threads()
    content = packed(job)
    with tempfile.TemporaryDirectory(prefix="modbench-") as folder:
        sent, made = Path(folder) / "job.pickle", Path(folder) / "launch.pickle"
        sent.write_bytes(content)
        del content
        return [_launch(sent, made, i, threads) for i in range(number)]


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
    """Refuse what is defined in the script or notebook: another process would have to run that to have it."""
    if b"__main__" in content and any(argument == "__main__" for _, argument, _ in pickletools.genops(content)):
        raise UsageError(
            f"{called} is defined in this script or notebook, which another process cannot import. {WITHOUT}"
        )


def _launch(sent: Path, made: Path, number: int, threads: int) -> Launch:
    code = "import sys; sys.path[:] = {!r}; from modbench.python import apart; apart.child({!r}, {!r}, {}, {}, {})"
    filled = code.format(sys.path, str(sent), str(made), number, threads, os.getpid())
    environment = passed_on(os.environ) | {"PYTHONSAFEPATH": "1"} | variables(threads)
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", filled], env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise ModbenchError(f"launch {number + 1} failed: {last}")
    launch: Launch = pickle.loads(made.read_bytes())  # noqa: S301  # written by our own process just now
    made.unlink()
    return launch


def child(sent: str, made: str, number: int, threads: int, parent: int) -> None:
    """Measure one launch; runs in a process of its own.

    Args:
        sent: file that holds the job.
        made: file that takes the launch.
        number: of the launch.
        threads: that compute.
        parent: process id; this process ends with it.
    """
    leash.end_with_parent(parent)
    import torch

    torch.set_num_threads(threads)
    job: Job = pickle.loads(Path(sent).read_bytes())  # noqa: S301  # written by the process that started this one
    Path(made).write_bytes(pickle.dumps(job.again(number).measure()))
