"""The options of the Slurm launcher: sbatch's own, by their long names, and a few of modbench's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modbench.extend import UsageError

# What modbench sets itself: by names and arrays it finds its Slurm jobs again.
OURS = ("array", "error", "job-name", "ntasks", "open-mode", "output", "wrap")
# Options of modbench's with a number, and the least that makes sense.
NUMBERS = {"max-submit": 1, "requeues": 0}
OPTION = re.compile(r"--([A-Za-z][A-Za-z0-9-]*)(?:=(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """The options of a user.

    Attributes:
        sbatch: sbatch's options by long name; True for one without a value.
        requeues: how often a Slurm job may put itself back into the queue, and how often a job is submitted again.
        max_submit: tasks that may be in the queue at once, and so the largest array.
        setup: shell commands that a Slurm job runs first, such as `module load cuda`.
        exclusive: whether timed jobs get a node of their own where sbatch's options do not say.
    """

    sbatch: Mapping[str, str | bool] = field(default_factory=dict)
    requeues: int = 3
    max_submit: int = 1000
    setup: tuple[str, ...] = ()
    exclusive: bool = True

    def nodes_for(self, ranks: int) -> int:
        """Nodes of a job with so many ranks: those of `--nodes`; one if it has a single rank.

        Raises:
            UsageError: if the ranks cannot be divided among them evenly.
        """
        said = str(self.sbatch.get("nodes", "1"))
        if ranks == 1:
            return 1
        if not said.isdecimal() or int(said) < 1 or ranks % int(said):
            fits = ", ".join(str(number) for number in range(1, ranks + 1) if ranks % number == 0)
            raise UsageError(
                f"--nodes={said}: train.ranks = {ranks} cannot be divided among {said} nodes evenly. What works: {fits}."
            )
        return int(said)


def parse(words: Sequence[str]) -> Options:
    """Read options such as `--partition=gpu`, `--partition gpu` and `--exclusive`. The last of several counts.

    Whether sbatch knows an option is left to sbatch.

    Raises:
        UsageError: if a word is no option, or one that modbench sets itself.
    """
    sbatch: dict[str, str | bool] = {}
    numbers: dict[str, int] = {}
    setup: list[str] = []
    exclusive = True
    for name, value in _pairs(words):
        if name in OURS:
            raise UsageError(f"--{name} is set by modbench, which finds its Slurm jobs again by it. Leave it out.")
        if name in NUMBERS:
            numbers[name.replace("-", "_")] = _number(name, str(value))
        elif name == "setup":
            setup.append(str(value))
        elif name == "no-exclusive":
            exclusive = False
        else:
            sbatch[name] = value
    return Options(sbatch, setup=tuple(setup), exclusive=exclusive, **numbers)


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | bool]]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        found = OPTION.fullmatch(word)
        if found is None:
            raise UsageError(
                f"{word!r} is no option of sbatch by its long name. Write as: -- --partition=gpu --time=4:00:00"
            )
        if found[2] is not None:
            yield found[1], found[2]
        elif rest and not rest[0].startswith("-"):
            yield found[1], rest.pop(0)
        else:
            yield found[1], True


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < NUMBERS[name]:
        raise UsageError(f"--{name}={value}: write a whole number from {NUMBERS[name]}.")
    return int(value)
