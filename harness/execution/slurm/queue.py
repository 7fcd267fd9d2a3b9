"""Asks Slurm: squeue, scontrol, scancel. Accounting (sacct) is not needed: few small clusters have it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from modbench.harness.core import printable
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.process import processes

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
# States of a job that will not run again by itself; any other is waiting, running or about to.
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "LAUNCH_FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "RECONFIG_FAIL",
    "REVOKED",
    "TIMEOUT",
}
# array job, task (N/A for a job without an array), state, name
FORMAT = "%F|%K|%T|%j"
WAIT_S = 60
# What sbatch says of nodes that are not there; with --test-only also of nodes that are down, for now.
NOT_NOW = "Requested node configuration is not available"
MOST_FILES = 9000  # of an array, all in one folder
# What sbatch says where an option is at fault, and what sounds like it where the cluster is.
AT_FAULT = re.compile(
    r"\b(invalid|unrecognized|ambiguous|requires an argument|doesn't allow an argument|not permitted|can ?not be satisfied"
    rf"|{NOT_NOW})\b",
    re.IGNORECASE,
)
NO_OPTION = re.compile(r"credential|authentica|unable to contact|timed out", re.IGNORECASE)
FORMER_ARRAY_SIZE = 1001  # Slurm's default, where scontrol does not say


class QueueError(ModbenchError):
    """Slurm's controller does not answer; its jobs may well go on."""


def require() -> None:
    """Refuse to go on without Slurm's commands.

    Raises:
        UsageError: if one is missing.
    """
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"--launcher slurm needs Slurm's commands; {', '.join(missing)} cannot be found here. Start modbench on a login node "
            "of the cluster (Debian: apt-get install slurm-client), or use --launcher local."
        )


def refuse_unknown(words: Sequence[str]) -> None:
    """Let sbatch check options, without submitting anything.

    Raises:
        UsageError: with sbatch's own words, if it refuses them.
        QueueError: if it fails for another reason.
    """
    done = _run(["sbatch", "--test-only", *words, "--wrap=true"])
    if done.returncode and NOT_NOW not in done.stderr:
        raise refusal(words, done.stderr, "nothing was submitted")


def refusal(words: Sequence[str], said: str, kept: str, instead: str = "") -> ModbenchError:
    """The error for an sbatch that failed: a wrong request only where sbatch names an option.

    Args:
        words: the options.
        said: what sbatch said.
        kept: what holds now, where no option is at fault.
        instead: what holds now, and how to go on, where one is.
    """
    if AT_FAULT.search(said) and not NO_OPTION.search(said):
        asked = " ".join(printable.masked_command(list(words))) or "a job"
        return UsageError(f"sbatch refuses {asked}: {words_of(said)}{instead and f'. {instead}'}")
    return QueueError(f"sbatch failed: {words_of(said)}; {kept}.")


def words_of(said: str) -> str:
    """The output of a command of Slurm, on one line."""
    lines = [
        printable.masked(line.strip()) for line in said.splitlines() if line.strip() and not line.startswith('Try "')
    ]
    return "; ".join(dict.fromkeys(lines))[:400] or "it does not say why"


def largest_array() -> int:
    """Tasks of the largest array that the site allows."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]).stdout, re.MULTILINE)
    return max(1, int(found.group(1)) if found else FORMER_ARRAY_SIZE)


def most_tasks(nodes: int) -> int:
    """Tasks of an array whose files one folder holds: of each task three, and of each of its nodes log, result and notes."""
    return MOST_FILES // (3 + 3 * nodes)


def address_of_first(names: str) -> str:
    """The address by which Slurm reaches the first of some nodes, given as `gpu[03-04]`; its name where Slurm does not say."""
    first = (_run(["scontrol", "show", "hostnames", names]).stdout.split() or [names])[0]
    found = re.search(r"\bNodeAddr=(\S+)", _run(["scontrol", "show", "node", "--oneliner", first]).stdout)
    return found.group(1) if found else first


def states(names: Iterable[str]) -> dict[tuple[str, int], tuple[str, str]]:
    """State of every task of this user's jobs with these names, as long as Slurm remembers it.

    Returns:
        (job name, task) to (id of the array job, state).

    Raises:
        QueueError: if squeue fails, which says nothing about the jobs.
    """
    found: dict[tuple[str, int], tuple[str, str]] = {}
    asked = sorted(names)
    for start in range(0, len(asked), 100):
        some = ",".join(asked[start : start + 100])
        done = _run(["squeue", "-h", "-r", "-t", "all", f"--user={os.getuid()}", f"--name={some}", "-o", FORMAT])
        if done.returncode:
            raise QueueError(words_of(done.stderr))
        found |= {(name, task): (job, state) for job, task, state, name in parse(done.stdout)}
    return found


def parse(said: str) -> Iterator[tuple[str, int, str, str]]:
    """Read squeue's lines: array job, task (0 for a job without an array), state, name. Others are ignored."""
    for line in said.splitlines():
        parts = line.strip().split("|", 3)
        if len(parts) == 4 and parts[0].isdecimal():
            job, task, state, name = parts
            yield job, int(task) if task.isdecimal() else 0, state, name


def cancel(job: str) -> None:
    """Cancel a job, or all tasks of an array."""
    _run(["scancel", job])


def tell(job: str) -> None:
    """Send a job the signal that Slurm sends before the time limit."""
    _run(["scancel", "--signal=USR2", job])


def requeue(job: str) -> bool:
    """Put a running job back into the queue; returns whether Slurm did."""
    return _run(["scontrol", "requeue", job]).returncode == 0


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        done = processes.answer(command, WAIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} does not answer: {error}")
    said = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, *said)
