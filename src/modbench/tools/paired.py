"""`compare --paired`: short launches of two revisions take turns, and are judged like arms.

Each side is prepared by a whole `modbench run`, which plans, counts and checks; its times are not used. A block is three
processes, first, second and first again, that are alive together and take turns, round by round; each works on a copy of a
prepared folder. Launches are held as the units of a run are: by the same limits, the same keeper, and with a record of how one
died. Finished blocks are kept; the same command continues after them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modbench.harness.core import catalogue, masking
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.early_end import CannotWrite
from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError
from modbench.harness.core.units import counted, human_duration
from modbench.harness.execution import command, deaths
from modbench.harness.execution.keeper import Keeper
from modbench.harness.execution.launch import local
from modbench.harness.execution.limits import Limits, in_words
from modbench.harness.execution.phase import cannot_write
from modbench.harness.execution.second_clock import check_clock
from modbench.harness.execution.stopping import Stop, signals
from modbench.harness.execution.unit import ENDLESS_S
from modbench.harness.machine import certificate, environment
from modbench.harness.results import lock, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.tools import one_launch, paired_folder, side_by_side
from modbench.tools.paired_folder import timed_units
from modbench.tools.revisions import Side, side
from modbench.tools.side_by_side import End, Start

# Launches of one block: the two outer ones are of the same side.
ORDER = {"first": 0, "second": 1, "again": 0}
# Blocks without `--launches`: a small case takes under five minutes (for their power: tests/bench/paired_power.py).
BLOCKS = 12
FEWEST = 3
# Rounds of a launch: six inputs, twice each. Starting its processes takes about as long; with more rounds or fewer, the same time
# tells less where processes of equal code differ by 1.5 % and rounds by 5 %.
ROUNDS = 12


@dataclass(frozen=True)
class Request:
    """What is compared.

    Attributes:
        sides: the two sides as named by the user.
        suite: a suite's name or file.
        models: values of `--model`.
        select: `-k` expression.
        flags: more words for `modbench run`, such as `--seq-len 512`.
        blocks: blocks of three processes.
        metrics: timed metrics to measure.
        timeout: the limit of a unit, as typed; None: from its prediction.
        timeout_s: the same in seconds.
    """

    sides: tuple[str, str]
    suite: str
    models: tuple[str, ...] = ()
    select: str | None = None
    flags: tuple[str, ...] = ()
    blocks: int = BLOCKS
    metrics: tuple[str, ...] = ()
    timeout: str | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Check the number of blocks."""
        if self.blocks < FEWEST:
            raise UsageError(f"--launches {self.blocks}: an interval needs at least {FEWEST}.")

    def as_dict(self, sides: Sequence[Side], device: str, threads: int) -> dict[str, Any]:
        """What blocks of one comparison share: the request, the code of both sides, and the machine."""
        suite = Path(self.suite)
        return {
            "sides": list(self.sides),
            "code": [each.identity() for each in sides],
            "suite": hashlib.sha256(suite.read_bytes()).hexdigest() if suite.is_file() else self.suite,
            "asked": masking.command([*self.models, self.select or "", *self.flags]),
            "metrics": list(self.metrics),
            "blocks": self.blocks,
            "machine": certificate.fingerprint(environment.collect(), device, threads),
        }


@dataclass(frozen=True)
class Compared:
    """What was measured.

    Attributes:
        folder: the folder of all run folders.
        sides: the sides in words.
        blocks: the run folders block by block: first, second, again.
    """

    folder: Path
    sides: tuple[str, str]
    blocks: list[list[Path]]


@dataclass(frozen=True)
class Held:
    """How processes are held.

    Attributes:
        keeper: ends them where this process cannot.
        stop: what signals requested.
        limits: of a prepared folder, the limits of its units.
        died: units of which a launch died: they have no number any more, and are not measured again.
    """

    keeper: Keeper
    stop: Stop
    limits: dict[Path, Limits] = field(default_factory=dict)
    died: set[str] = field(default_factory=set)

    def go_on(self) -> None:
        """Check whether more may be started.

        Raises:
            KeyboardInterrupt: if a signal requested to stop.
        """
        if self.stop.finishing or self.stop.ending:
            self.stop.ending = True
            raise KeyboardInterrupt


def measure(
    request: Request, name: str, out: str | None, say: Callable[[str], None], *, device: str = "cpu", threads: int = 1
) -> Compared:
    """Run all launches, or those that an earlier try of the same comparison lacks.

    Args:
        request: what is compared.
        name: the suite's name.
        out: folder for the run folders; None: one in `runs/`.
        say: takes lines about what happens.
        device: where the sides measure.
        threads: their CPU threads.

    Raises:
        UsageError: if a side does not exist, or refuses the suite; if the folder holds something else; on Windows.
        IncompleteError: if it was interrupted; finished blocks are kept.
        ModbenchError: if a side cannot be prepared, or a file cannot be written.
    """
    if sys.platform == "win32":
        raise UsageError("--paired needs Linux or macOS: processes cannot hand each other turns on Windows.")
    stop = Stop(lambda: say("the launches that run are finished first. Press Ctrl-C again to stop now."))
    held = Held(Keeper(), stop)
    with signals(stop), paired_folder.copies(held.keeper) as copies:
        sides = [side(each, request.models, copies / "ab"[i]) for i, each in enumerate(request.sides)]
        same = request.as_dict(sides, device, threads)
        held.go_on()
        folder = paired_folder.opened(name, out, same)
        with lock.hold(folder):
            blocks = [[folder / f"block{block}-{called}" for called in ORDER] for block in range(request.blocks)]
            try:
                missing = [block for block in blocks if not paired_folder.is_finished(block)]
                done = _measured(request, sides, folder, blocks, missing, held, say) if missing else blocks
                paired_folder.finish(folder)
            except KeyboardInterrupt:
                by = f" by {stop.cause}" if stop.cause in {"SIGTERM", "SIGHUP"} else ""
                kept = sum(map(paired_folder.is_finished, blocks))
                raise IncompleteError(
                    f"interrupted{by}. {_block_count(kept, request.blocks, 'kept')}: the same command continues."
                ) from None
    return Compared(folder, (sides[0].label, sides[1].label), done)


def _measured(
    request: Request,
    sides: Sequence[Side],
    folder: Path,
    blocks: Sequence[list[Path]],
    missing: Sequence[list[Path]],
    held: Held,
    say: Callable[[str], None],
) -> list[list[Path]]:
    """Prepare both sides and run the blocks that are missing; returns the blocks that are there then."""
    how = f"{request.blocks} blocks of three processes that take turns, the first side twice"
    say(f"{sides[0].label} against {sides[1].label}: {how}")
    if there := len(blocks) - len(missing):
        say(f"{folder}: {_block_count(there, request.blocks, 'there')}; the others follow")
    where = folder.resolve()  # a side runs in a folder of its own
    # Again for those that follow: the copies of the revisions lie elsewhere now.
    prepared = [_prepared(each, request, where / name, held) for each, name in zip(sides, ORDER, strict=False)]
    start = time.monotonic()
    for number, block in enumerate(missing, start=1):
        three = [
            (sides[which], prepared[which], out.resolve()) for which, out in zip(ORDER.values(), block, strict=True)
        ]
        # In reverse in every other block: a steady drift then cancels in the A/A test too.
        more = _launch(three[::-1] if blocks.index(block) % 2 else three, held)
        left = (time.monotonic() - start) / number * (len(missing) - number)
        at = len(blocks) - len(missing) + number
        say(f"[{at}/{request.blocks}]" + f" about {human_duration(left)} left" * bool(left))
        if not more:
            say("nothing is left to measure: a launch of each unit died")
            break
    return [block for block in blocks if all((run / "run.json").exists() for run in block)]


def _block_count(number: int, of: int, word: str) -> str:
    return f"{number} of {counted(of, 'block')} {'is' if number == 1 else 'are'} {word}"


def command_of(one: Side, request: Request, out: Path) -> list[str]:
    """Return the words that prepare one side."""
    listed = ", ".join(f'"{metric}"' for metric in request.metrics)
    suite = request.suite if not Path(request.suite).is_file() else str(Path(request.suite).resolve())
    words = [one.python, "-P", "-m", "modbench", "run", suite, "--effort", "draft", "-o", str(out), "--json"]
    for setting in (f"metrics=[{listed}]", "launches=1", f"rounds={ROUNDS}", "twin=false"):
        words += ["--set", setting]
    for model in request.models:
        words += ["--model", one.models.get(model, model)]
    words += ["-k", request.select] if request.select else []
    words += ["--timeout", request.timeout] if request.timeout else []
    return [*words, *request.flags]


def _prepared(one: Side, request: Request, out: Path, held: Held) -> Path:
    """Make the run folder of a side that launches are copies of."""
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_suffix(".log")
    log.unlink(missing_ok=True)
    # A run has limits of its own for its units.
    words, seen = command_of(one, request, out), one.environment()
    with command.started(words, seen, log, held.keeper, ENDLESS_S, folder=one.folder) as run:
        run.join()
    held.go_on()
    if run.exitcode:
        said = log.read_text(encoding="utf-8", errors="replace")
        last = [line for line in said.splitlines() if line.startswith("modbench: ")]
        why = last[-1].removeprefix("modbench: ") if last else f"exit code {run.exitcode}: {said.strip()[-300:]}"
        kind = UsageError if run.exitcode == UsageError.exit_code else ModbenchError
        raise kind(f"{one.label}: {why}")
    log.unlink()
    held.limits[out] = Limits(run_folder.read(str(out)).plan, request.timeout_s)
    return out


def _launch(sides: Sequence[tuple[Side, Path, Path]], held: Held) -> bool:
    """Time all units once more.

    Args:
        sides: of every process its side, the folder of the prepared side, and the new run folder: a copy with other times.
        held: how processes are held.

    Returns:
        Whether a unit is left of which no launch died.
    """
    units = [timed_units(prepared) for _, prepared, _ in sides]
    for (_, prepared, out), timed in zip(sides, units, strict=True):
        shutil.rmtree(out, ignore_errors=True)  # of a block that did not come to its end
        old = {RunFolder(prepared).record(unit) for unit in timed.values()}
        shutil.copytree(
            prepared,
            out,
            ignore=lambda where, names, old=old: [
                each for each in names if Path(where, each) in old or each.endswith((".html", ".csv"))
            ],
        )
    for name in _alive(units, held):
        held.go_on()
        there = [
            (one, prepared, out, timed[name])
            for (one, prepared, out), timed in zip(sides, units, strict=True)
            if name in timed
        ]
        ends = side_by_side.run([_start(*each, held) for each in there], held.keeper)
        for (_, prepared, out, unit), ended in zip(there, ends, strict=True):
            _take(RunFolder(out), unit, ended, held.limits[prepared], held.died)
    return any(_alive(units, held))


def _alive(units: Sequence[dict[str, UnitOfWork]], held: Held) -> Iterator[str]:
    return (name for name in dict.fromkeys(name for timed in units for name in timed) if name not in held.died)


def _start(one: Side, prepared: Path, out: Path, unit: UnitOfWork, held: Held) -> Start:
    told = {**local.variables(unit.comparison.place.threads), **catalogue.passes()[unit.made_in].environment}
    with local.environment(told):
        seen = dict(os.environ)
    seen |= {key: value for key, value in one.environment().items() if key == "PYTHONPATH"}
    script, log = Path(one_launch.__file__).resolve(), RunFolder(out).log(unit)
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    words = [one.python, "-P", str(script), str(out), unit.name]
    return Start(words, seen, one.folder, log, held.limits[prepared][unit.name])


def _take(folder: RunFolder, unit: UnitOfWork, ended: End, limits: Limits, died: set[str]) -> None:
    """Take the record of a launch, or write one with the cause of its death."""
    record, log = folder.record(unit), folder.log(unit)
    check_clock(record, unit, ended.ended_s)
    if record.exists():
        return
    if ended.exitcode == CannotWrite.exit_code:
        raise cannot_write(folder, unit)
    why = deaths.death(ended.exitcode, timed_out=ended.hung, log=log, limit=in_words(limits, unit.name))
    deaths.keep_log(log)
    deaths.write_failure(unit, record, why)
    died.add(unit.name)
