"""`compare --paired`: short launches of two revisions take turns, and are judged like arms.

Each side is prepared by a whole `modbench run`, which plans, counts and checks; its times are not used. A block is three
processes, first, second and first again, that are alive together and take turns, round by round; each works on a copy of a
prepared folder. Launches have the limits and the keeper that units of a run have, and a launch that
died leaves a record. Finished blocks are kept; the same command continues after them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modbench import api
from modbench.commands._output import say, say_json
from modbench.commands.compare import paired_folder, turn_taking
from modbench.commands.compare.paired_folder import timed_units
from modbench.commands.compare.sides import Side, side
from modbench.commands.compare.turn_taking import End, Start
from modbench.harness.core import masking
from modbench.harness.core.errors import IncompleteError, ModbenchError, UnfitError, UsageError
from modbench.harness.core.units import counted, human_duration, parse_duration
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.execution import command, crash_records, limits
from modbench.harness.execution.launch import local
from modbench.harness.execution.limits import Limits
from modbench.harness.execution.log_supervisor import Keeper
from modbench.harness.execution.parent_clock_check import check_clock
from modbench.harness.execution.phase import cannot_write
from modbench.harness.execution.stopping import Stop, interrupt_on_end, signals
from modbench.harness.execution.unit import ENDLESS_S
from modbench.harness.machine import certificate, environment
from modbench.harness.planning.overrides import Overrides, setting_of
from modbench.harness.process.graceful_stop import CannotWrite
from modbench.harness.registry import catalogue
from modbench.harness.results import lock, progress, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.reports.questions import revisions
from modbench.reports.writers import text

# Launches of one block: the two outer ones are of the same side.
ORDER = {"first": 0, "second": 1, "again": 0}
# Blocks without `--launches`: a small case takes under five minutes (for their power: tests/bench/paired_power.py).
BLOCKS = 12
FEWEST = 3
# Rounds of a launch: six inputs, twice each. Starting its processes takes about as long; with more rounds or fewer, the same time
# tells less where processes of equal code differ by 1.5 % and rounds by 5 %.
ROUNDS = 12
# Run as a file: another revision may not have it.
SCRIPT = Path(__file__).resolve().with_name("one_launch.py")


@dataclass(frozen=True)
class Request:
    """A comparison of two revisions.

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
        """The parts that all blocks of one comparison share: request, code of both sides, machine."""
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
    """The measured launches.

    Attributes:
        folder: the folder of all run folders.
        sides: the sides in words.
        blocks: the run folders block by block: first, second, again.
    """

    folder: Path
    sides: tuple[str, str]
    blocks: list[list[Path]]


@dataclass(frozen=True)
class Supervision:
    """Limits and ends the processes.

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

    def refuse_if_stopped(self) -> None:
        """Check that no signal requested to stop.

        Raises:
            KeyboardInterrupt: if a signal requested to stop.
        """
        if self.stop.finishing or self.stop.ending:
            self.stop.ending = True
            raise KeyboardInterrupt


def compare_revisions(
    words: Sequence[str],
    *,
    models: Sequence[str] = (),
    settings: Sequence[str] = (),
    lengths: Sequence[int] = (),
    select: str | None = None,
    launches: int | None = None,
    margin: float | None = None,
    timeout: str | None = None,
    out: str | None = None,
    as_json: bool = False,
) -> None:
    """Time two revisions in processes that take turns and print how they compare.

    Args:
        words: the two revisions and the suite.
        models: values of `--model`.
        settings: values of `--set`.
        lengths: values of `--seq-len`.
        select: `-k` expression.
        launches: blocks of three processes; None: the default.
        margin: the largest difference that does not matter, as a share; None: the suite's.
        timeout: the longest time of a unit, such as `10min`; None: from its prediction.
        out: folder for the run folders; None: one in `runs/`.
        as_json: whether to print JSON.

    Raises:
        UsageError: if the words are not two revisions and a suite, or the suite times nothing.
        IncompleteError: if it was interrupted.
        UnfitError: if the machine called the same code different, or nothing was compared.
    """
    if len(words) != 3:
        raise UsageError(
            f"--paired takes two revisions and a suite, such as `compare --paired main HEAD quick`; got {len(words)} words."
        )
    first, second, suite = words
    flags = [word for setting in settings for word in ("--set", setting)]
    flags += ["--seq-len", ",".join(map(str, lengths))] if lengths else []
    request = Request(
        (first, second),
        suite,
        tuple(models),
        select,
        tuple(flags),
        BLOCKS if launches is None else launches,
        timeout=timeout,
        timeout_s=None if timeout is None else parse_duration(timeout, "--timeout"),
    )
    interrupt_on_end()
    # Planned here first, so that a mistake shows before anything runs.
    wanted = Overrides(model=tuple(models), seq_len=tuple(lengths), settings=dict(map(setting_of, settings)))
    plan = api.make_plan(suite, wanted, select)
    known = catalogue.metrics()
    timed = [key for key in plan.suite.metrics if catalogue.pass_of(known[key]).times and not known[key].source]
    if not timed:
        raise UsageError(
            f"{suite} times nothing: --paired compares times. Name one: --set 'metrics=[\"latency/forward\"]'."
        )
    done = measure(
        replace(request, metrics=tuple(timed)),
        plan.suite.name,
        out,
        lambda line: print(line, file=sys.stderr, flush=True),
        device=plan.device,
        threads=plan.suite.threads,
    )
    folder = done.folder
    found = revisions.result(done.blocks, done.sides, margin)
    if as_json:
        say_json(found.as_dict() | {"folder": str(folder)}, allow_nan=False)
    else:
        say(f"{text.written(revisions.blocks(found), text.width())}\n\nruns: {folder}")
    if not found.compared:
        raise UnfitError(
            "nothing was compared: no case has a time on both sides. The lines above say why, case by case."
        )
    if found.fooled:
        raise UnfitError(
            f"the same code came out different in {len(found.fooled)} of {len(found.rows)} rows: the machine is too busy or too "
            "uneven now. Try more --launches, or when nothing else runs."
        )


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
    supervision = Supervision(Keeper(), stop)
    with signals(stop), paired_folder.revision_folder(supervision.keeper) as copies:
        sides = [side(each, request.models, copies / "ab"[i]) for i, each in enumerate(request.sides)]
        same = request.as_dict(sides, device, threads)
        supervision.refuse_if_stopped()
        folder = paired_folder.open_folder(name, out, same)
        with lock.hold(folder):
            blocks = [[folder / f"block{block}-{called}" for called in ORDER] for block in range(request.blocks)]
            try:
                missing = [block for block in blocks if not paired_folder.is_finished(block)]
                done = _run_blocks(request, sides, folder, blocks, missing, supervision, say) if missing else blocks
                paired_folder.finish(folder)
            except KeyboardInterrupt:
                kept = sum(map(paired_folder.is_finished, blocks))
                raise IncompleteError(
                    f"{stop.interrupted}. {_block_count(kept, request.blocks, 'kept')}: the same command continues."
                ) from None
    return Compared(folder, (sides[0].label, sides[1].label), done)


def _run_blocks(
    request: Request,
    sides: Sequence[Side],
    folder: Path,
    blocks: Sequence[list[Path]],
    missing: Sequence[list[Path]],
    supervision: Supervision,
    say: Callable[[str], None],
) -> list[list[Path]]:
    """Prepare both sides and run the blocks that are missing; return all blocks."""
    how = f"{request.blocks} blocks of three processes that take turns, the first side twice"
    say(f"{sides[0].label} against {sides[1].label}: {how}")
    if present := len(blocks) - len(missing):
        say(f"{folder}: {_block_count(present, request.blocks, 'there')}; the others follow")
    where = folder.resolve()  # a side runs in a folder of its own
    # Again for those that follow: the copies of the revisions lie elsewhere now.
    prepared = [_prepare(each, request, where / name, supervision) for each, name in zip(sides, ORDER, strict=False)]
    start = time.monotonic()
    for number, block in enumerate(missing, start=1):
        three = [
            (sides[which], prepared[which], out.resolve()) for which, out in zip(ORDER.values(), block, strict=True)
        ]
        # In reverse in every other block: a steady drift then cancels in the A/A test too.
        units_left = _launch(three[::-1] if blocks.index(block) % 2 else three, supervision)
        left = (time.monotonic() - start) / number * (len(missing) - number)
        at = len(blocks) - len(missing) + number
        say(f"[{at}/{request.blocks}]" + f" about {human_duration(left)} left" * bool(left))
        if not units_left:
            say("nothing is left to measure: a launch of each unit died")
            break
    return [block for block in blocks if all((run / "run.json").exists() for run in block)]


def _block_count(number: int, of: int, word: str) -> str:
    return f"{number} of {counted(of, 'block')} {'is' if number == 1 else 'are'} {word}"


def preparing_command(one: Side, request: Request, out: Path) -> list[str]:
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


def _prepare(one: Side, request: Request, out: Path, supervision: Supervision) -> Path:
    """Make the run folder of a side that launches are copies of."""
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_suffix(".log")
    log.unlink(missing_ok=True)
    # A run has limits of its own for its units.
    words, variables = preparing_command(one, request, out), one.environment()
    with command.started(words, variables, log, supervision.keeper, ENDLESS_S, folder=one.folder) as run:
        run.join()
    supervision.refuse_if_stopped()
    if run.exitcode:
        output = log.read_text(encoding="utf-8", errors="replace")
        last = [line for line in output.splitlines() if line.startswith("modbench: ")]
        why = last[-1].removeprefix("modbench: ") if last else f"exit code {run.exitcode}: {output.strip()[-300:]}"
        kind = UsageError if run.exitcode == UsageError.exit_code else ModbenchError
        raise kind(f"{one.label}: {why}")
    log.unlink()
    supervision.limits[out] = Limits(run_folder.read(str(out)).plan, request.timeout_s)
    return out


def _launch(sides: Sequence[tuple[Side, Path, Path]], supervision: Supervision) -> bool:
    """Time all units once more.

    Args:
        sides: of every process its side, the folder of the prepared side, and the new run folder: a copy with other times.
        supervision: limits and ends the processes.

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
                each
                for each in names
                if Path(where, each) in old or each == progress.NAME or each.endswith((".html", ".csv"))
            ],
        )
    for name in _units_left(units, supervision):
        supervision.refuse_if_stopped()
        launches = [
            (one, prepared, out, timed[name])
            for (one, prepared, out), timed in zip(sides, units, strict=True)
            if name in timed
        ]
        ends = turn_taking.run([_start(*each, supervision) for each in launches], supervision.keeper)
        for (_, prepared, out, unit), ended in zip(launches, ends, strict=True):
            _keep_record(RunFolder(out), unit, ended, supervision.limits[prepared], supervision.died)
    return any(_units_left(units, supervision))


def _units_left(units: Sequence[dict[str, UnitOfWork]], supervision: Supervision) -> Iterator[str]:
    return (name for name in dict.fromkeys(name for timed in units for name in timed) if name not in supervision.died)


def _start(one: Side, prepared: Path, out: Path, unit: UnitOfWork, supervision: Supervision) -> Start:
    variables = {**local.variables(unit.comparison.place.threads), **dict(unit.facts.environment)}
    with local.environment(variables):
        environ = dict(os.environ)
    environ |= {key: value for key, value in one.environment().items() if key == "PYTHONPATH"}
    log = RunFolder(out).log(unit)
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    words = [one.python, "-P", str(SCRIPT), str(out), unit.name]
    return Start(words, environ, one.folder, log, supervision.limits[prepared][unit.name])


def _keep_record(folder: RunFolder, unit: UnitOfWork, ended: End, unit_limits: Limits, died: set[str]) -> None:
    """Take the record of a launch, or write one with the cause of its death."""
    record, log = folder.record(unit), folder.log(unit)
    check_clock(record, unit, ended.ended_s)
    if record.exists():
        return
    if ended.exitcode == CannotWrite.exit_code:
        raise cannot_write(folder, unit)
    why = crash_records.death(
        ended.exitcode, timed_out=ended.hung, log=log, limit=limits.in_words(unit_limits, unit.name)
    )
    crash_records.keep_log(log)
    crash_records.write_failure(unit, folder, why)
    died.add(unit.name)
