"""The options of the Slurm launcher: sbatch's own, by their own names, and a few of modbench's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modbench.harness.core.errors import UsageError

# sbatch's short options that a person is likely to type.
SHORT = {
    "A": "account",
    "C": "constraint",
    "G": "gpus",
    "L": "licenses",
    "N": "nodes",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "n": "ntasks",
    "p": "partition",
    "q": "qos",
    "t": "time",
    "w": "nodelist",
    "x": "exclude",
}
# What modbench sets itself: by names and arrays it finds its jobs again.
OURS = ("array", "error", "job-name", "ntasks", "open-mode", "output", "wrap")
SIGNAL = re.compile(r"USR2@(\d+)")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True)
class Options:
    """The options of a user.

    Attributes:
        sbatch: sbatch's options by long name; True for one without a value.
        array_parallelism: tasks of an array that may run at once; None: as many as Slurm starts.
        requeues: how often a unit is started again after its job was preempted, reached its time limit or lost its node.
        max_submit: tasks that may be in the queue at once; None: no limit but the site's.
        signal_s: seconds before the time limit at which a job is told of it, so that training saves a checkpoint.
        setup: shell commands that a job runs first, such as `module load cuda`.
        exclusive: whether timed units get a node of their own where sbatch's options do not say.
    """

    sbatch: Mapping[str, str | bool] = field(default_factory=dict)
    array_parallelism: int | None = None
    requeues: int = 3
    max_submit: int | None = None
    signal_s: int = 90
    setup: tuple[str, ...] = ()
    exclusive: bool = True

    def nodes_for(self, ranks: int) -> int:
        """Nodes of a unit with so many ranks: those of `--nodes`; one if it has a single rank.

        Raises:
            UsageError: if the ranks cannot be divided among them evenly.
        """
        said = self.sbatch.get("nodes", "1")
        if ranks == 1:
            return 1
        if not isinstance(said, str) or not said.isdecimal() or int(said) < 1:
            raise UsageError(f"--nodes={said}: units with train.ranks = {ranks} need a whole number of nodes from 1.")
        if ranks % int(said):
            fits = [str(number) for number in range(1, ranks + 1) if ranks % number == 0]
            raise UsageError(
                f"--nodes={said}: train.ranks = {ranks} cannot be divided among {said} nodes evenly. "
                f"Use --nodes={', '.join(fits[:-1])} or {fits[-1]}."
            )
        return int(said)

    def words(self) -> list[str]:
        """Options of sbatch as words of a command."""
        return [f"--{name}" if value is True else f"--{name}={value}" for name, value in self.sbatch.items()]


def parse(words: Sequence[str]) -> Options:
    """Read options such as `--partition=gpu`, `--partition gpu`, `-p gpu` and `--exclusive`. The last of several counts.

    Whether sbatch knows an option is left to sbatch.

    Raises:
        UsageError: if a word is no option, or one that modbench sets itself.
    """
    sbatch: dict[str, str | bool] = {}
    ours: dict[str, object] = {}
    setup: list[str] = []
    for name, value in _pairs(words):
        if name in OURS:
            raise UsageError(f"--{name} is set by modbench, which finds its jobs again by it. Leave it out.")
        if name in {"array-parallelism", "requeues", "max-submit"}:
            ours[name.replace("-", "_")] = _number(name, value, least=0 if name == "requeues" else 1)
        elif name == "setup":
            setup.append(str(value))
        elif name == "no-exclusive":
            ours["exclusive"] = False
        elif name == "signal":
            found = SIGNAL.fullmatch(str(value))
            if not found:
                raise UsageError(f"--signal={value}: modbench's jobs listen to USR2. Write --signal=USR2@SECONDS.")
            ours["signal_s"] = int(found.group(1))
        else:
            sbatch[name] = value
    return Options(sbatch=sbatch, setup=tuple(setup), **ours)  # type: ignore[arg-type]  # checked one by one above


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | bool]]:
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        name, equals, value = word.lstrip("-").partition("=")
        if re.fullmatch(r"-[A-Za-z].*", word):
            if word[1] not in SHORT:
                raise UsageError(f"the option {word!r} of --launcher slurm: write its long name, as --partition=gpu.")
            name, value = SHORT[word[1]], word[2:].removeprefix("=")
            equals = value
        elif not word.startswith("--") or not NAME.fullmatch(name):
            raise UsageError(
                f"{word!r} is no option of sbatch. Write them behind `--`, as in: -- --partition=gpu --time=4:00:00"
            )
        if equals:
            yield name, value
        elif at < len(words) and not words[at].startswith("-"):
            yield name, words[at]
            at += 1
        else:
            yield name, True


def _number(name: str, value: str | bool, least: int) -> int:  # noqa: FBT001  # an option's value
    if not isinstance(value, str) or not value.isdecimal() or int(value) < least:
        raise UsageError(f"--{name}={value}: write a whole number from {least}.")
    return int(value)
