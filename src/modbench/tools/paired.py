"""`compare --paired`: short launches of two revisions take turns, and are judged like arms.

Each side is prepared by a whole `modbench run`, which plans, counts and checks; its times are not used. A block is three
processes, first, second and first again, that are alive together and take turns, round by round; each works on a copy of a
prepared folder.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modbench.harness.core import catalogue
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.core.files import now
from modbench.harness.core.units import human_duration
from modbench.harness.execution.launch import local
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.tools import one_launch, side_by_side
from modbench.tools.revisions import Side, side
from modbench.tools.side_by_side import Start

# Launches of one block: the two outer ones are of the same side.
ORDER = {"first": 0, "second": 1, "again": 0}
# Blocks without `--launches`: of a small case they take under five minutes (for what they see: tests/bench/paired_power.py).
BLOCKS = 12
FEWEST = 3
# Rounds of a launch: six inputs, twice each. Starting its processes takes about as long; with more rounds or fewer, the same time
# tells less where processes of equal code differ by 1.5 % and rounds by 5 %.
ROUNDS = 12
# Seconds that a launch may take until it asks for its first turn, and for each turn, before it counts as hanging.
LIMIT_S = 900.0


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Attributes:
        sides: the two sides as named by the user.
        suite: a suite's name or file.
        models: values of `--model`.
        select: `-k` expression.
        flags: more words for `modbench run`, such as `--seq-len 512`.
        blocks: blocks of three processes.
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
        UsageError: if a side does not exist, or refuses the suite; on Windows.
        ModbenchError: if a launch ends without a record.
    """
    if sys.platform == "win32":
        raise UsageError("--paired needs Linux or macOS: processes cannot hand each other turns on Windows.")
    folder = folder.resolve()  # a side runs in a folder of its own
    with tempfile.TemporaryDirectory(prefix="modbench-paired-") as copies:
        sides = [side(each, asked.models, Path(copies) / "ab"[i]) for i, each in enumerate(asked.sides)]
        for each in sides:
            each.modbench()
        how = f"{asked.blocks} blocks of three processes that take turns, the first side twice"
        say(f"{sides[0].said} against {sides[1].said}: {how}")
        prepared = [_prepared(each, asked, folder / name, metrics) for each, name in zip(sides, ORDER, strict=False)]
        start, done = time.monotonic(), list[list[Path]]()
        for block in range(asked.blocks):
            made = [folder / f"block{block}-{called}" for called in ORDER]
            three = [(sides[which], prepared[which], out) for which, out in zip(ORDER.values(), made, strict=True)]
            # In reverse in every other block: a steady drift then cancels in the A/A test too.
            _launch(three[::-1] if block % 2 else three)
            done.append(made)
            left = (time.monotonic() - start) / (block + 1) * (asked.blocks - block - 1)
            say(f"[{block + 1}/{asked.blocks}]" + f" about {human_duration(left)} left" * bool(left))
        return (sides[0].said, sides[1].said), done


def command(one: Side, asked: Asked, out: Path, metrics: Sequence[str]) -> list[str]:
    """Return the words that prepare one side."""
    listed = ", ".join(f'"{metric}"' for metric in metrics)
    suite = asked.suite if not Path(asked.suite).is_file() else str(Path(asked.suite).resolve())
    words = [one.python, "-P", "-m", "modbench", "run", suite, "--effort", "draft", "-o", str(out), "--json"]
    for setting in (f"metrics=[{listed}]", "launches=1", f"rounds={ROUNDS}", "twin=false"):
        words += ["--set", setting]
    for model in asked.models:
        words += ["--model", one.models.get(model, model)]
    words += ["-k", asked.select] if asked.select else []
    return [*words, *asked.flags]


def timed_units(run: Path) -> dict[str, UnitOfWork]:
    """The units of a run folder that time calls, by name."""
    known = catalogue.passes()
    return {unit.name: unit for unit in run_folder.read(str(run)).plan.units if known[unit.made_in].times}


def _prepared(one: Side, asked: Asked, out: Path, metrics: Sequence[str]) -> Path:
    _ended_well(one, command(one, asked, out, metrics))
    return out


def _launch(sides: Sequence[tuple[Side, Path, Path]]) -> None:
    """Time all units once more.

    Args:
        sides: of every process its side, the folder of the prepared side, and the new run folder: a copy with other times.
    """
    units = [timed_units(prepared) for _, prepared, _ in sides]
    for (_, prepared, out), timed in zip(sides, units, strict=True):
        old = {RunFolder(prepared).record(unit) for unit in timed.values()}
        shutil.copytree(
            prepared,
            out,
            ignore=lambda where, names, old=old: [
                each for each in names if Path(where, each) in old or each.endswith((".html", ".csv"))
            ],
        )
    for name in dict.fromkeys(name for timed in units for name in timed):
        there = [(one, out, timed[name]) for (one, _, out), timed in zip(sides, units, strict=True) if name in timed]
        side_by_side.run([_start(*each) for each in there], LIMIT_S)


def _start(one: Side, out: Path, unit: UnitOfWork) -> Start:
    told = {**local.variables(unit.comparison.place.threads), **catalogue.passes()[unit.made_in].environment}
    with local.environment(told):
        seen = dict(os.environ)
    seen |= {key: value for key, value in one.environment().items() if key == "PYTHONPATH"}
    script, run = Path(one_launch.__file__).resolve(), out.resolve()
    log = RunFolder(run).log(unit)
    log.parent.mkdir(exist_ok=True)
    return Start(one.said, [one.python, "-P", str(script), str(run), unit.name], seen, one.folder, log)


def _ended_well(one: Side, words: Sequence[str]) -> None:
    done = subprocess.run(  # noqa: S603  # an interpreter and a revision that the user named
        words,
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
