"""`compare --paired`: short launches of two revisions alternate, and are judged like arms."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modbench.harness.core.catalogue import is_user_model
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.core.files import now
from modbench.harness.core.units import human_duration
from modbench.tools.revisions import Side, is_interpreter, side

# Launches of one block: the two outer ones are of the same side.
ORDER = (("first", 0), ("second", 1), ("again", 0))
# Blocks without `--launches`: where processes of equal code differ by 2 % (standard deviation), seven see 3 % in three of four
# tries (tests/bench/paired_power.py).
BLOCKS = 7
FEWEST = 3
# Rounds of a launch: six inputs, as at draft effort.
ROUNDS = 6


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Attributes:
        sides: the two sides as named by the user.
        suite: a suite's name or file.
        models: values of `--model`.
        select: `-k` expression.
        flags: more words for `modbench run`, such as `--seq-len 512`.
        blocks: blocks of three launches.
    """

    sides: tuple[str, str]
    suite: str
    models: tuple[str, ...] = ()
    select: str | None = None
    flags: tuple[str, ...] = ()
    blocks: int = BLOCKS

    def __post_init__(self) -> None:
        """Check the number of blocks."""
        if self.blocks < FEWEST:
            raise UsageError(f"--launches {self.blocks}: an interval needs at least {FEWEST}.")


def same_harness(asked: Asked) -> bool:
    """Whether both sides run the same modbench: they differ in a model of the user alone."""
    return any(map(is_user_model, asked.models)) and not any(map(is_interpreter, asked.sides))


def new_folder(suite: str, out: str | None) -> Path:
    """Make the folder that takes all run folders: the one named, or `runs/paired-<suite>-<date>-<n>`.

    Raises:
        UsageError: if it exists, or cannot be made.
    """
    today = now()[:10].replace("-", "")
    names = (
        [Path(out)] if out is not None else (Path("runs") / f"paired-{suite}-{today}-{n}" for n in itertools.count(1))
    )
    for path in names:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if out is not None:
                raise UsageError(f"{out!r} exists. Name a new folder, or omit --out.") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
        else:
            return path
    raise AssertionError("numbers do not end")


def measure(
    asked: Asked, folder: Path, metrics: Sequence[str], say: Callable[[str], None]
) -> tuple[tuple[str, str], list[list[Path]]]:
    """Run all launches; return the sides in words, and the run folders block by block: first, second, again.

    Args:
        asked: what is compared.
        folder: an empty folder for the run folders.
        metrics: timed metrics to measure.
        say: takes lines about what happens.

    Raises:
        UsageError: if a side does not exist, or refuses the suite.
        ModbenchError: if a launch ends without a report.
    """
    with tempfile.TemporaryDirectory(prefix="modbench-paired-") as name:
        sides = [side(each, asked.models, Path(name) / "ab"[i]) for i, each in enumerate(asked.sides)]
        for each in sides:
            each.modbench()
        say(f"{sides[0].said} against {sides[1].said}: {asked.blocks} blocks of three launches, the first side twice")
        start, done = time.monotonic(), list[list[Path]]()
        for block in range(asked.blocks):
            made = []
            for called, which in ORDER:
                out = folder / f"block{block}-{called}"
                _launch(sides[which], asked, out, metrics)
                made.append(out)
            done.append(made)
            left = (time.monotonic() - start) / (block + 1) * (asked.blocks - block - 1)
            say(
                f"[{block + 1}/{asked.blocks}] about {human_duration(left)} left"
                if left
                else f"[{block + 1}/{asked.blocks}]"
            )
        return (sides[0].said, sides[1].said), done


def command(one: Side, asked: Asked, out: Path, metrics: Sequence[str]) -> list[str]:
    """Return the words that start one launch."""
    listed = ", ".join(f'"{metric}"' for metric in metrics)
    suite = asked.suite if not Path(asked.suite).is_file() else str(Path(asked.suite).resolve())
    words = [one.python, "-P", "-m", "modbench", "run", suite, "--effort", "draft", "-o", str(out), "--json"]
    for setting in (f"metrics=[{listed}]", "launches=1", f"rounds={ROUNDS}", "twin=false"):
        words += ["--set", setting]
    for model in asked.models:
        words += ["--model", one.models.get(model, model)]
    words += ["-k", asked.select] if asked.select else []
    return [*words, *asked.flags]


def _launch(one: Side, asked: Asked, out: Path, metrics: Sequence[str]) -> None:
    done = subprocess.run(  # noqa: S603  # an interpreter and a revision that the user named
        command(one, asked, out, metrics),
        env=one.environment(),
        cwd=one.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    last = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    said = last[-1].removeprefix("modbench: ") if last else f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    kind = UsageError if done.returncode == UsageError.exit_code else ModbenchError
    raise kind(f"{one.said}: {said}")
